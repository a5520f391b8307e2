"""Serving questions of scenarios: their fleets, policies and loads, in the long run and request by request."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

from rooflinesim.analysis.serving.arrivals import Requests, drawn_requests, faster, load_of
from rooflinesim.analysis.serving.asked import drafts_of, fleet_of, load_at, policy_at
from rooflinesim.analysis.serving.load import Drafts, Fleet, Load
from rooflinesim.analysis.serving.simulation import simulate
from rooflinesim.analysis.serving.steady import steady_state
from rooflinesim.api.answers import answer
from rooflinesim.api.drafting import drafting_notes
from rooflinesim.api.scenario_answers import Point, one_answer
from rooflinesim.api.scenario_drafting import drafting_of
from rooflinesim.api.scenario_traffic import prefill_hardware, serving_axes, traffic_of
from rooflinesim.config.traces import load_trace
from rooflinesim.errors import UnsupportedError
from rooflinesim.report import serving as report
from rooflinesim.report.answer import Answer
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.scenario import Scenario


def serving_points(scenario: Scenario) -> list[dict[str, Any]]:
    """Every combination of replicas, policy, engines for prompts, lengths and drafts that a scenario names.

    Rates and numbers of users are left out: one answer holds all of them.
    """
    axes = serving_axes(scenario)
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def fleet_at(decode: Deployment, scenario: Scenario, point: Point) -> Fleet:
    """The fleet of a point around its decode engine."""
    return fleet_of(decode, scenario.prefill, prefill_hardware(scenario), point)


def drafts_at(target: Deployment, scenario: Scenario, load: Load, point: Point) -> tuple[Drafts | None, list[str]]:
    """Speculation in the loop, None where a point drafts nothing, and what is to be said about it."""
    asked = scenario.speculation
    length = point.get("draft_length", 0)
    if asked is None or not length:
        return None, []
    drafting = drafting_of(asked, target.model)
    drafts = drafts_of(target, drafting, asked, load, point)
    return drafts, drafting_notes(drafts.speculation, drafting)


def trace_of(scenario: Scenario, cached_share: float) -> Requests:
    """The requests of a scenario's trace, as fast as its simulation says.

    Raises
    ------
    FileError : if the trace cannot be read, or a row of it is wrong.
    """
    found = load_trace(traffic_of(scenario).trace or "", cached_share)
    return faster(found, scenario.simulation.rate_scale)


def serving_answer(scenario: Scenario) -> Callable[[Deployment, Point], Answer]:
    """What gives the answer for one deployment and point, at all rates or numbers of users."""
    traffic = traffic_of(scenario)

    def ask(deployment: Deployment, point: Point) -> Answer:
        fleet, policy = fleet_at(deployment, scenario, point), policy_at(point)
        load = load_of(trace_of(scenario, point["cached_share"])) if traffic.trace else load_at(traffic, point)
        drafts, notes = drafts_at(deployment, scenario, load, point)
        result = steady_state(fleet, load, policy, drafts)
        views = [report.serving_view(fleet, load, policy, drafts, result)]
        content = report.serving_content(load, result)
        return answer("serve", deployment, None, result, content, views, {}, notes)

    return ask


def simulation_answer(
    scenario: Scenario, *, progress: Callable[[int], None] | None = None, shows_requests: bool = False
) -> Callable[[Deployment, Point], Answer]:
    """What gives the answer for one deployment and point: a row for all requests together, or one for each."""
    traffic, asked = traffic_of(scenario), scenario.simulation

    def ask(deployment: Deployment, point: Point) -> Answer:
        fleet, policy = fleet_at(deployment, scenario, point), policy_at(point)
        requests = requests_at(scenario, point)
        load = load_of(requests)
        drafts, notes = drafts_at(deployment, scenario, load, point)
        run = simulate(fleet, requests, policy, drafts, seed=asked.seed, progress=progress)
        expected = steady_state(fleet, load, policy, drafts)
        views = [report.simulation_view(fleet, load, policy, drafts, run, expected, traffic.trace)]
        content = report.simulation_content(run, expected, shows_requests=shows_requests)
        return answer("simulate", deployment, None, run, content, views, report.simulation_inputs(asked), notes)

    return ask


def requests_at(scenario: Scenario, point: Point) -> Requests:
    """The requests to simulate at a point: those of the trace, or drawn ones.

    Raises
    ------
    UnsupportedError : if rates or users vary.
    """
    traffic, asked = traffic_of(scenario), scenario.simulation
    if traffic.trace:
        return trace_of(scenario, point["cached_share"])
    if len(traffic.requests_per_s) + len(traffic.users) > 1:
        raise UnsupportedError(
            f"{scenario.name}: a simulation takes one rate or number of users; `serve` takes several"
        )
    drawn = drawn_requests(load_at(traffic, point), asked.requests, seed=asked.seed, burstiness=traffic.burstiness)
    return drawn if traffic.users else faster(drawn, asked.rate_scale)


def simulated(
    *,
    scenario: Scenario,
    seed: int | None = None,
    rate_scale: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Answer:
    """A scenario's traffic, request by request, on the one fleet that it names.

    Parameters
    ----------
    seed, rate_scale : in place of those of the scenario.

    Raises
    ------
    DomainError : if the scenario names several fleets, or none that can be.
    """
    asked = scenario.simulation
    asked = dataclasses.replace(
        asked,
        seed=asked.seed if seed is None else seed,
        rate_scale=asked.rate_scale if rate_scale is None else rate_scale,
    )
    scenario = dataclasses.replace(scenario, simulation=asked)
    return one_answer(
        scenario, serving_points(scenario), simulation_answer(scenario, progress=progress, shows_requests=True)
    )


def simulated_requests(scenario: Scenario) -> int:
    """How many requests a simulation has, for a progress bar."""
    return requests_at(scenario, serving_points(scenario)[0]).size
