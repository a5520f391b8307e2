"""How long does a prompt take until its first token?"""

import dataclasses
from typing import Any

import numpy as np

from rooflinesim.analysis.bands import band_of
from rooflinesim.analysis.steps import StepColumns, Timed, in_blocks, step_columns, with_bounds_named
from rooflinesim.analysis.timing import aligned
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.step import Array


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PrefillResult(StepColumns):
    """Steps that read a batch of prompts: the time to first token, without queueing."""

    batch: np.ndarray = quantity("1")
    prompt: np.ndarray = quantity("tokens")
    context: np.ndarray = quantity("tokens")
    ttft: np.ndarray = quantity("s")
    ttft_low: np.ndarray = quantity("s")
    ttft_high: np.ndarray = quantity("s")
    prompt_tokens_per_s: np.ndarray = quantity("tokens/s", column="prompt_tokens_per_s")


def prefill(
    deployment: Deployment,
    *,
    prompt: Array | list[int] | tuple[int, ...],
    batch: Array | list[int] | tuple[int, ...] = 1,
    context: Array | list[int] | tuple[int, ...] = 0,
    routing: Routing | None = None,
) -> PrefillResult:
    """Time of steps that read whole prompts and score their last token only.

    Parameters
    ----------
    prompt : new tokens per sequence. [tokens] >= 1
    batch : prompts in the step. [1]
    context : tokens cached before the prompt, a prefix hit. [tokens] >= 0
    """
    columns = aligned(batch=batch, context=context, new_tokens=prompt)
    columns["logit_tokens"] = np.ones_like(columns["batch"])
    return PrefillResult(**with_bounds_named(prefill_columns(deployment, columns, routing)))


def prefill_columns(
    deployment: Deployment, columns: dict[str, np.ndarray], routing: Routing | None = None
) -> dict[str, Any]:
    """Columns of `PrefillResult` for aligned float64 columns of a step; `bound` as its place among BOUNDS."""
    return in_blocks(_prefill_block, deployment, columns, routing)


def _prefill_block(timed: Timed) -> dict[str, Any]:
    time, columns = step_columns(timed)
    deployment, step = timed.deployment, timed.step
    time = time / deployment.stack.prompt_efficiency
    columns["overhead_time"] = columns["overhead_time"] + time * (1.0 - deployment.stack.prompt_efficiency)
    low, high = band_of(deployment, step, is_prompt=True)
    return {
        "batch": step.batch,
        "prompt": step.new_tokens,
        "context": step.context,
        "ttft": time,
        "ttft_low": time * low,
        "ttft_high": time * high,
        "prompt_tokens_per_s": step.tokens / time,
        **columns,
    }
