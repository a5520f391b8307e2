"""How long does one decoded token take?"""

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
class DecodeResult(StepColumns):
    """Decode steps: each sequence of a batch gets `new_tokens` tokens."""

    batch: np.ndarray = quantity("1")
    context: np.ndarray = quantity("tokens")
    new_tokens: np.ndarray = quantity("tokens")
    step_time: np.ndarray = quantity("s")
    step_time_low: np.ndarray = quantity("s")
    step_time_high: np.ndarray = quantity("s")
    tokens_per_s_per_user: np.ndarray = quantity("tokens/s", column="tokens_per_s_per_user")
    tokens_per_s: np.ndarray = quantity("tokens/s")


def decode(
    deployment: Deployment,
    *,
    batch: Array | list[int] | tuple[int, ...] = 1,
    context: Array | list[int] | tuple[int, ...] = 2048,
    new_tokens: Array | list[int] | tuple[int, ...] = 1,
    routing: Routing | None = None,
) -> DecodeResult:
    """Time of steps in which every sequence of a batch gets `new_tokens` tokens, all of them scored.

    Parameters
    ----------
    batch : sequences in the step. [1] >= 0, scalar or shape (points,)
    context : tokens of each sequence that are cached before the step. [tokens] >= 0
    new_tokens : tokens per sequence: 1 decodes, more verify a draft. [tokens] >= 1

    Raises
    ------
    DomainError : if a number is negative or not finite, or the ranks do not divide the heads.
    UnsupportedError : if the device cannot multiply a number format.
    """
    columns = aligned(batch=batch, context=context, new_tokens=new_tokens)
    return DecodeResult(**with_bounds_named(decode_columns(deployment, columns, routing)))


def decode_columns(
    deployment: Deployment, columns: dict[str, np.ndarray], routing: Routing | None = None
) -> dict[str, Any]:
    """Columns of `DecodeResult` for aligned float64 columns of a step; `bound` as its place among BOUNDS."""
    return in_blocks(_decode_block, deployment, columns, routing)


def _decode_block(timed: Timed) -> dict[str, Any]:
    time, columns = step_columns(timed)
    step = timed.step
    low, high = band_of(timed.deployment, step)
    return {
        "batch": step.batch,
        "context": step.context,
        "new_tokens": step.new_tokens,
        "step_time": time,
        "step_time_low": time * low,
        "step_time_high": time * high,
        "tokens_per_s_per_user": step.new_tokens / time,
        "tokens_per_s": step.tokens / time,
        **columns,
    }
