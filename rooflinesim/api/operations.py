"""The operations of a step."""

from collections.abc import Mapping, Sequence

from rooflinesim.analysis.operations import decode_ops as analyse
from rooflinesim.api import plots
from rooflinesim.api.answers import answer, deployment
from rooflinesim.report import decode as decode_report
from rooflinesim.report.answer import Answer
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.stack import Stack


def decode_ops(
    *,
    model: Model,
    hardware: Hardware,
    stack: Stack,
    batch: float = 1,
    context: float = 2048,
    weights: str | None = None,
    kv: str | None = None,
    tp: int = 1,
    pp: int = 1,
    ep: int = 1,
    dp: int = 1,
    paths: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Answer:
    """The operations of one decode step; see `analysis.decode.decode_ops`."""
    asked = deployment(model=model, hardware=hardware, stack=stack, weights=weights, kv=kv, tp=tp, pp=pp, ep=ep, dp=dp)
    rows = analyse(asked, batch=batch, context=context)
    content = {
        "columns": decode_report.ops_columns(rows),
        "summary": {"step_time_s": sum(row.time for row in rows)},
    }
    view = decode_report.ops_view(asked, rows, batch=batch, context=context)
    return answer(
        "decode",
        asked,
        paths,
        rows,
        content,
        [view],
        {"batch": batch, "context_tokens": context},
        notes,
        draw=lambda: plots.plot_roofline([asked], batch=batch, context=context),
    )
