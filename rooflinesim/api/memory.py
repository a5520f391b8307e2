"""What takes memory, and what fits."""

from collections.abc import Mapping, Sequence

from rooflinesim.analysis import memory as memory_analysis
from rooflinesim.api import plots
from rooflinesim.api.answers import answer, deployment
from rooflinesim.report import memory as memory_report
from rooflinesim.report.answer import Answer
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.stack import Stack


def memory(
    *,
    model: Model,
    hardware: Hardware,
    stack: Stack,
    batch: int = 1,
    context: int = 2048,
    weights: str | None = None,
    kv: str | None = None,
    tp: int = 1,
    pp: int = 1,
    ep: int = 1,
    dp: int = 1,
    paths: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Answer:
    """Byte ledger, and what fits; see `analysis.memory.memory`."""
    asked = deployment(model=model, hardware=hardware, stack=stack, weights=weights, kv=kv, tp=tp, pp=pp, ep=ep, dp=dp)
    result = memory_analysis.memory(asked, batch=batch, context=context)
    content = memory_report.memory_content(result)
    views = [memory_report.memory_view(asked, result)]
    return answer(
        "memory",
        asked,
        paths,
        result,
        content,
        views,
        {"batch": batch, "context_tokens": context},
        notes,
        draw=lambda: plots.plot_memory([asked], batch=batch, context=context),
    )
