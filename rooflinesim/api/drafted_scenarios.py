"""What the speculation of a scenario gains."""

from collections.abc import Callable, Mapping
from typing import Any

from rooflinesim import config
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.api.drafting import Drafting
from rooflinesim.api.scenarios import DEFAULT_BATCHES, contexts
from rooflinesim.api.speculate import speculate
from rooflinesim.errors import DomainError, UnsupportedError
from rooflinesim.report.answer import Answer
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.model import Model
from rooflinesim.specs.scenario import Scenario, Speculation
from rooflinesim.units import parse_range

DEFAULT_LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8)


def speculation_points(scenario: Scenario) -> list[dict[str, Any]]:
    """One point for each acceptance that a scenario names; a curve is one.

    Raises
    ------
    DomainError : if it names none.
    """
    asked = said(scenario)
    if not asked.acceptance_rate:
        raise DomainError(f"{scenario.name}: speculation.acceptance_rate: missing; give what was measured, such as 0.8")
    if asked.acceptance_kind == "curve":
        return [{}]
    return [{"acceptance_rate": rate} for rate in asked.acceptance_rate]


def said(scenario: Scenario) -> Speculation:
    """The speculation of a scenario.

    Raises
    ------
    DomainError : if it has none.
    """
    if scenario.speculation is None:
        raise DomainError(f"{scenario.name}: speculation: missing; write it like speculation: {{method: ngram}}")
    return scenario.speculation


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
            drafting=drafting_said(asked, deployment.model),
            acceptance=acceptance_said(asked, point),
            tree=asked.tree,
            batch=[batch for batch, _, _ in grid],
            context=[context for _, context, _ in grid],
            draft_length=[length for _, _, length in grid],
            weights=point["weights"],
            kv=point["kv_cache"],
            tp=deployment.tensor_parallel,
        )

    return ask


def drafting_said(asked: Speculation, target: Model) -> Drafting:
    """How a scenario drafts for a target."""
    draft: Any = None
    if asked.method == "eagle":
        draft = config.load_draft(asked.draft, target)
    elif asked.draft is not None:
        draft = config.load_model(asked.draft)
    return Drafting(
        method=asked.method,
        draft=draft,
        hardware=None if asked.draft_hardware is None else config.load_hardware(asked.draft_hardware),
        tensor_parallel=asked.draft_tensor,
        weights=asked.draft_weights,
        cost_ratio=asked.draft_cost_ratio,
        pass_time=asked.draft_pass_time,
        cache_tokens=asked.draft_context,
        exit_layer=asked.exit_layer,
        heads=asked.heads,
        hit_rate=asked.hit_rate,
    )


def acceptance_said(asked: Speculation, point: Mapping[str, Any]) -> Acceptance:
    """How much of a scenario's drafts is kept, at a point of its axes."""
    rest: dict[str, Any] = {
        "measured_length": asked.acceptance_at,
        "decay": asked.decay,
        "temperature": asked.temperature,
    }
    if asked.acceptance_kind == "curve":
        return Acceptance(kind="curve", curve=asked.acceptance_rate, **rest)
    return Acceptance(kind=asked.acceptance_kind, value=point["acceptance_rate"], **rest)
