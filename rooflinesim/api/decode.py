"""How long a decoded token takes."""

from collections.abc import Mapping, Sequence

import numpy as np

from rooflinesim.analysis import decode as decode_analysis
from rooflinesim.api import plots
from rooflinesim.api.answers import Counts, answer, deployment, grid, numbers, remarks
from rooflinesim.report import decode as decode_report
from rooflinesim.report.answer import Answer
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.stack import Stack


def decode(
    *,
    model: Model,
    hardware: Hardware,
    stack: Stack,
    batch: Counts = 1,
    context: Counts = 2048,
    weights: str | None = None,
    kv: str | None = None,
    tp: int = 1,
    pp: int = 1,
    ep: int = 1,
    dp: int = 1,
    explained: bool = False,
    paths: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Answer:
    """Per-token decode latency at aligned batches and contexts; see `analysis.decode.decode`."""
    asked = deployment(model=model, hardware=hardware, stack=stack, weights=weights, kv=kv, tp=tp, pp=pp, ep=ep, dp=dp)
    result = decode_analysis.decode(asked, batch=numbers(batch), context=numbers(context))
    content = decode_report.decode_content(result)
    views = [decode_report.decode_view(asked, result)]
    if explained:
        first_batch, first_context = float(result.batch[0]), float(result.context[0])
        from rooflinesim.analysis.explain import explain

        found = explain(asked, batch=first_batch, context=first_context)
        content["summary"]["explanation"] = decode_report.explanation_summary(found)
        views.append(decode_report.explanation_view(found, batch=first_batch, context=first_context))
    return answer(
        "decode",
        asked,
        paths,
        result,
        content,
        views,
        grid(result),
        [*notes, *remarks(asked, result)],
        draw=lambda: plots.plot_latency(
            [asked], batch=result.batch if np.ptp(result.batch) else (1, 1024), context=result.context
        ),
    )
