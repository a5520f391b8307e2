"""How a scenario drafts: its method, acceptance and draft lengths as the nouns that questions are asked about."""

from collections.abc import Mapping
from typing import Any

from rooflinesim import config
from rooflinesim.analysis.points import RoundPoints
from rooflinesim.analysis.speculation.drafting import Drafting, acceptance_of
from rooflinesim.errors import DomainError, UnsupportedError
from rooflinesim.specs.model import Model
from rooflinesim.specs.scenario import Scenario, Speculation

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


def drafting_of(asked: Speculation, target: Model) -> Drafting:
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


def round_points(
    scenario: Scenario, targets: Mapping[str, Model], context: tuple[int, ...], batch: tuple[int, ...]
) -> RoundPoints:
    """Rounds of chains: all draft lengths and acceptances of a scenario, and how each of several models is drafted for.

    Raises
    ------
    DomainError, UnsupportedError : if an acceptance is missing or has no meaning, or a tree is asked for.
    """
    asked = said(scenario)
    if asked.tree is not None:
        raise UnsupportedError(
            f"{scenario.name}: speculation.tree: {asked.tree}: a sweep is over draft lengths of chains;"
            " `rooflinesim run` answers trees"
        )
    lengths = asked.draft_length or DEFAULT_LENGTHS
    rates = [point.get("acceptance_rate", 1.0) for point in speculation_points(scenario)]
    each = [acceptance_of(asked, rate, max(lengths)) for rate in rates]
    return RoundPoints(
        context=context,
        acceptance=tuple(rates),
        batch=batch,
        draft_length=lengths,
        drafting={name: drafting_of(asked, target) for name, target in targets.items()},
        keeps=each[0],
    )
