"""From a scenario to the grid of steps that it names."""

from collections.abc import Mapping
from typing import cast, get_args

from rooflinesim.analysis.grid import Grid
from rooflinesim.analysis.points import DecodePoints, GridQuestion, Points, PrefillPoints
from rooflinesim.api.scenario_drafting import round_points
from rooflinesim.api.scenario_traffic import served_points
from rooflinesim.config.scenarios import Named
from rooflinesim.errors import DomainError, UnsupportedError
from rooflinesim.specs.scenario import Scenario
from rooflinesim.units import parse_range

DEFAULT_BATCHES = "1:256"
DEFAULT_CONTEXT = 2048
_UNUSED = ("speculation", "traffic", "objective", "price")


def step_question(scenario: Scenario) -> tuple[GridQuestion, list[str]]:
    """Which kind of step a scenario is about, and what to say about the rest of it.

    Raises
    ------
    UnsupportedError : if its question is none about steps.
    """
    question: GridQuestion
    if scenario.asked in ("decode", "prefill"):
        question = "prefill" if scenario.asked == "prefill" else "decode"
    elif scenario.question is None:
        question = "prefill" if scenario.prompt else "decode"
    else:
        raise UnsupportedError(f"{scenario.name}: question: {scenario.asked} is not about steps; ask decode or prefill")
    return question, _left_aside(scenario, question)


def grid_question(scenario: Scenario) -> tuple[GridQuestion, list[str]]:
    """What is asked at every point of a scenario's grid, and what to say about the rest of it.

    A plan searches by itself: its grid is that of the steady states of what it names, or of steps if it names batches.

    Raises
    ------
    UnsupportedError : if its question has no grid.
    """
    asked = scenario.asked
    if scenario.traffic is not None and scenario.traffic.trace is not None and asked != "prefill":
        if scenario.question is None and scenario.batch:
            return step_question(scenario)
        raise UnsupportedError(
            f"{scenario.name}: traffic.trace: a trace has one rate; `rooflinesim simulate` replays it, and a grid takes"
            " requests_per_s or users"
        )
    if asked in get_args(GridQuestion):
        question = cast("GridQuestion", asked)
    elif asked == "plan" and not scenario.batch and not scenario.prompt:
        question = "serve"
    elif scenario.question is None:
        return step_question(scenario)
    else:
        raise UnsupportedError(
            f"{scenario.name}: question: {asked} has no grid; ask one of {', '.join(get_args(GridQuestion))}"
        )
    return question, _left_aside(scenario, question)


_USED: Mapping[GridQuestion, tuple[str, ...]] = {
    "decode": (),
    "prefill": ("traffic",),
    "speculate": ("speculation",),
    "serve": ("traffic", "speculation", "replicas", "policy", "prefill"),
}
"""Parts of a scenario that a question depends on beside its deployments."""


def _left_aside(scenario: Scenario, question: GridQuestion) -> list[str]:
    unused = [name for name in _UNUSED if getattr(scenario, name) and name not in _USED[question]]
    if question == "prefill" and scenario.traffic and scenario.prompt:
        unused.append("traffic")
    if not unused:
        return []
    what = "a steady state" if question == "serve" else f"a {question} step"
    return [f"{scenario.name}: {what} does not depend on {', '.join(unused)}: left aside here"]


def contexts(scenario: Scenario) -> tuple[int, ...]:
    """Contexts of decode steps: the scenario's, else what the questions show by default."""
    return scenario.context or (DEFAULT_CONTEXT,)


def grid_of(scenario: Scenario, nouns: Named, question: GridQuestion) -> Grid:
    """The grid of a scenario's steps; without a batch or context those that the question shows by default.

    Raises
    ------
    RooflinesimError : if a prefill has no prompt, or what drafts is missing.
    """
    parallelism, precision = scenario.parallelism, scenario.precision
    return Grid(
        model=nouns.model,
        hardware=nouns.hardware,
        stack=nouns.stack,
        memory=scenario.memory or (None,),
        tensor_parallel=parallelism.tensor or (1,),
        pipeline_parallel=parallelism.pipeline or (1,),
        expert_parallel=parallelism.expert or (1,),
        data_parallel=parallelism.data or (1,),
        weights=precision.weights,
        kv_cache=precision.kv_cache,
        asked=_points(scenario, nouns, question),
    )


def _points(scenario: Scenario, nouns: Named, question: GridQuestion) -> Points:
    if question == "prefill":
        prompt = scenario.prompt or (scenario.traffic.prompt_tokens if scenario.traffic else ())
        if not prompt:
            raise DomainError(f"{scenario.name}: prompt: missing; a prefill needs one, write it like prompt: 2k")
        return PrefillPoints(prompt=prompt, context=scenario.context or (0,), batch=scenario.batch or (1,))
    batch = scenario.batch or parse_range(DEFAULT_BATCHES)
    if question == "speculate":
        return round_points(scenario, nouns.model, contexts(scenario), batch)
    if question == "serve":
        return served_points(scenario, nouns.model)
    return DecodePoints(context=contexts(scenario), batch=batch)
