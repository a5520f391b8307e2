"""Time to first token."""

from collections.abc import Mapping, Sequence

import numpy as np

from rooflinesim.analysis import prefill as prefill_analysis
from rooflinesim.api import plots
from rooflinesim.api.answers import Counts, answer, deployment, grid, listed, numbers, remarks
from rooflinesim.report import decode as decode_report
from rooflinesim.report.answer import Answer
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.stack import Stack


def prefill(
    *,
    model: Model,
    hardware: Hardware,
    stack: Stack,
    prompt: Counts,
    batch: Counts = 1,
    context: Counts = 0,
    weights: str | None = None,
    kv: str | None = None,
    tp: int = 1,
    pp: int = 1,
    ep: int = 1,
    dp: int = 1,
    paths: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Answer:
    """Time to first token of prompts; see `analysis.decode.prefill`."""
    asked = deployment(model=model, hardware=hardware, stack=stack, weights=weights, kv=kv, tp=tp, pp=pp, ep=ep, dp=dp)
    result = prefill_analysis.prefill(asked, prompt=numbers(prompt), batch=numbers(batch), context=numbers(context))
    content = decode_report.prefill_content(result)
    views = [decode_report.prefill_view(asked, result)]
    inputs = {**grid(result), "prompt_tokens": listed(result.prompt)}
    return answer(
        "prefill",
        asked,
        paths,
        result,
        content,
        views,
        inputs,
        [*notes, *remarks(asked, result)],
        draw=lambda: plots.plot_prefill(
            [asked],
            prompt=result.prompt if np.ptp(result.prompt) else (128, 32768),
            batch=result.batch[0],
            context=result.context[0],
        ),
    )
