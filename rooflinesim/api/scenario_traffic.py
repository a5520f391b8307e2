"""What a scenario says about traffic, as the points of a grid."""

from collections.abc import Mapping
from typing import Any

from rooflinesim import config
from rooflinesim.analysis.serving.asked import WAYS
from rooflinesim.analysis.serving.points import ServedPoints
from rooflinesim.api.scenario_drafting import drafting_of, speculation_points
from rooflinesim.errors import DomainError, UnsupportedError
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.scenario import Scenario, Traffic


def traffic_of(scenario: Scenario) -> Traffic:
    """The traffic of a scenario.

    Raises
    ------
    DomainError : if it has none.
    """
    if scenario.traffic is None:
        raise DomainError(
            f"{scenario.name}: traffic: missing; write it like"
            " traffic: {requests_per_s: 4, prompt_tokens: 1200, output_tokens: 300}"
        )
    return scenario.traffic


def prefill_hardware(scenario: Scenario) -> Hardware | None:
    """Devices that read prompts for others; None for the same as those."""
    asked = scenario.prefill
    return None if asked is None or asked.hardware is None else config.load_hardware(asked.hardware)


def serving_axes(scenario: Scenario) -> dict[str, tuple[Any, ...]]:
    """Replicas, policies, lengths, engines for prompts and drafts that a scenario names; rates and users are apart.

    Raises
    ------
    DomainError, UnsupportedError : if traffic, draft lengths or an acceptance are missing, or a tree is asked for.
    """
    traffic, asked, prefill = traffic_of(scenario), scenario.speculation, scenario.prefill
    axes: dict[str, tuple[Any, ...]] = {
        "replicas": scenario.replicas or (1,),
        "batch_limit": scenario.policy.batch_limit or (None,),
        "chunk_tokens": scenario.policy.chunk_tokens or (0,),
        "prompt_tokens": traffic.prompt_tokens or (None,),
        "output_tokens": traffic.output_tokens or (None,),
        "cached_share": traffic.cached_share,
    }
    if prefill is not None:
        axes |= {f"prefill_{name}": getattr(prefill, name) or (1,) for name in (*WAYS, "replicas")}
    if asked is None:
        return axes
    if asked.tree is not None or not asked.draft_length:
        raise UnsupportedError(
            f"{scenario.name}: speculation: serving is answered for chains: give draft_length, such as 3"
        )
    rates = tuple(point["acceptance_rate"] for point in speculation_points(scenario) if point)
    return axes | ({"acceptance_rate": rates} if rates else {}) | {"draft_length": asked.draft_length}


def served_points(scenario: Scenario, targets: Mapping[str, Model]) -> ServedPoints:
    """Every combination of a scenario's serving axes, and its rates or users.

    Raises
    ------
    DomainError, UnsupportedError : as `serving_axes`.
    """
    traffic, asked = traffic_of(scenario), scenario.speculation
    return ServedPoints(
        **serving_axes(scenario),
        offered_requests_per_s=traffic.requests_per_s,
        users=traffic.users,
        traffic=traffic,
        prefill=scenario.prefill,
        hardware=prefill_hardware(scenario),
        speculation=asked,
        drafting={name: drafting_of(asked, target) for name, target in targets.items()} if asked else {},
    )
