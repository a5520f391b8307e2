"""At which batch decoding flips."""

from collections.abc import Mapping, Sequence

from rooflinesim.analysis import crossover as crossover_analysis
from rooflinesim.api import plots
from rooflinesim.api.answers import answer, deployment
from rooflinesim.report import crossover as crossover_report
from rooflinesim.report.answer import Answer
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.stack import Stack


def crossover(
    *,
    model: Model,
    hardware: Hardware,
    stack: Stack,
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
    """Batches at which decoding flips; see `analysis.crossover.crossover`."""
    asked = deployment(model=model, hardware=hardware, stack=stack, weights=weights, kv=kv, tp=tp, pp=pp, ep=ep, dp=dp)
    result = crossover_analysis.crossover(asked, context=context)
    content = crossover_report.crossover_content(result)
    views = [crossover_report.crossover_view(asked, result)]
    return answer(
        "crossover",
        asked,
        paths,
        result,
        content,
        views,
        {"context_tokens": context},
        notes,
        draw=lambda: plots.plot_crossover([asked]),
    )
