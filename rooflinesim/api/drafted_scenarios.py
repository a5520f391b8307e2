"""What the speculation of a scenario gains."""

from collections.abc import Callable, Mapping
from typing import Any

from rooflinesim.analysis.speculation.drafting import acceptance_of
from rooflinesim.api.scenario_drafting import DEFAULT_LENGTHS, drafting_of, said
from rooflinesim.api.scenarios import DEFAULT_BATCHES, contexts
from rooflinesim.api.speculate import speculate
from rooflinesim.errors import UnsupportedError
from rooflinesim.report.answer import Answer
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.scenario import Scenario
from rooflinesim.units import parse_range


def speculation_answer(scenario: Scenario) -> Callable[[Deployment, Mapping[str, Any]], Answer]:
    """What gives the answer for one deployment and acceptance, over all batches, contexts and draft lengths."""
    asked = said(scenario)
    batches = scenario.batch or parse_range(DEFAULT_BATCHES)
    lengths = (0,) if asked.tree else asked.draft_length or DEFAULT_LENGTHS
    grid = [(batch, context, length) for context in contexts(scenario) for batch in batches for length in lengths]

    def ask(deployment: Deployment, point: Mapping[str, Any]) -> Answer:
        if deployment.devices > deployment.tensor_parallel:
            raise UnsupportedError("speculation is answered for tensor parallelism alone: leave out pipeline and data")
        return speculate(
            model=deployment.model,
            hardware=deployment.hardware,
            stack=deployment.stack,
            drafting=drafting_of(asked, deployment.model),
            acceptance=acceptance_of(asked, point.get("acceptance_rate", 0.0)),
            tree=asked.tree,
            batch=[batch for batch, _, _ in grid],
            context=[context for _, context, _ in grid],
            draft_length=[length for _, _, length in grid],
            weights=point["weights"],
            kv=point["kv_cache"],
            tp=deployment.tensor_parallel,
        )

    return ask
