"""Two deployments that scenarios name, side by side."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rooflinesim import __version__
from rooflinesim.analysis.compare import Case
from rooflinesim.analysis.compare import compare as analyse
from rooflinesim.analysis.grid import DEPLOYMENT_AXES, Grid, deployment_at, reduced, values_at
from rooflinesim.analysis.serving.arrivals import load_of
from rooflinesim.analysis.serving.asked import load_at, policy_at
from rooflinesim.analysis.serving.load import Load
from rooflinesim.analysis.serving.steady import SteadyState, steady_state
from rooflinesim.analysis.sweep import axes_line
from rooflinesim.api import plots
from rooflinesim.api.answers import resolved
from rooflinesim.api.scenario_traffic import traffic_of
from rooflinesim.api.scenarios import grid_of, step_question
from rooflinesim.api.serving import drafts_at, fleet_at, serving_points, trace_of
from rooflinesim.config.scenarios import Named, named
from rooflinesim.errors import DomainError, RooflinesimError
from rooflinesim.nouns import Noun
from rooflinesim.report import compare as report
from rooflinesim.report import text
from rooflinesim.report.answer import Answer
from rooflinesim.report.provenance import provenance_of
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.scenario import Scenario
from rooflinesim.units import format_quantity, parse_quantity, parse_tokens

POINT_AXES = ("prompt", "context", "batch")
_AXES = (*DEPLOYMENT_AXES, *POINT_AXES)
_ALSO = {
    "tensor": "tensor_parallel",
    "pipeline": "pipeline_parallel",
    "expert": "expert_parallel",
    "data": "data_parallel",
    "tp": "tensor_parallel",
    "pp": "pipeline_parallel",
    "ep": "expert_parallel",
    "dp": "data_parallel",
    "kv": "kv_cache",
    "context_tokens": "context",
    "prompt_tokens": "prompt",
    "memory_capacity_bytes": "memory",
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Side(Noun):
    """One side of a comparison, and where it comes from."""

    name: str
    case: Case
    nouns: Named
    notes: tuple[str, ...]
    state: SteadyState | None = None


def compare(
    *,
    first: Scenario,
    second: Scenario | None = None,
    picks: Mapping[str, str] | None = None,
    first_picks: Mapping[str, str] | None = None,
    second_picks: Mapping[str, str] | None = None,
) -> Answer:
    """Two deployments side by side, with the cause of the difference term by term; see `analysis.compare`.

    Parameters
    ----------
    first, second : scenarios that each name, or leave after picking, one deployment and point. Without a second the
        first one has both: the two that it names, or one for each side's picks
    picks : what to take of an axis of several values, on both sides, such as {"hardware": "h100", "batch": "64"}
    first_picks, second_picks : the same for one side

    Raises
    ------
    RooflinesimError : if a side names none or several, or cannot be.
    """
    both = dict(picks or {})
    own = {**both, **(first_picks or {})}, {**both, **(second_picks or {})}
    if second is None and own[0] == own[1]:
        sides = _two_of(first, own[0])
    else:
        sides = (_one_of(first, own[0]), _one_of(second or first, own[1]))
    result = analyse(sides[0].case, sides[1].case)
    states = (sides[0].state, sides[1].state)
    content = report.compare_content(result, states)
    names = [one.name for one in sides]
    if names[0] == names[1]:
        names = _telling(sides)
    cases = [one.case for one in sides]
    deployments = [one.deployment for one in cases]
    return Answer(
        command="compare",
        version=__version__,
        result=result,
        columns=content["columns"],
        describe_inputs=lambda: {
            side: {
                "scenario": one.name,
                **resolved(one.case.deployment, one.nouns.paths, report.case_inputs(one.case)),
            }
            for side, one in zip(("first", "second"), sides, strict=True)
        },
        provenance=tuple(dict.fromkeys(fact for one in deployments for fact in provenance_of(one))),
        summary=content["summary"],
        notes=list(
            dict.fromkeys(
                note
                for one in sides
                for note in (*one.nouns.notes, *one.notes, *text.deployment_notes(one.case.deployment))
            )
        ),
        views=report.compare_views(result, names, states),
        draw=lambda: plots.plot_difference(result, names),
    )


def _telling(sides: Sequence[Side]) -> list[str]:
    """What tells two sides of one scenario apart."""
    names = text.telling_labels([one.case.deployment for one in sides])
    return names if names[0] != names[1] else [report.case_words(one.case) for one in sides]


def _question_grid(scenario: Scenario, picks: Mapping[str, str]) -> tuple[Grid, Named, list[str]]:
    """The grid that is left of a scenario after picking, its nouns, and what to say."""
    picked = {_ALSO.get(key, key): value for key, value in picks.items()}
    unknown = [key for key in picked if key not in _AXES]
    if unknown:
        raise DomainError(f"--pick: {unknown[0]!r} is no axis of a scenario; axes are {', '.join(_AXES)}")
    points: dict[str, Any] = {}
    for axis in POINT_AXES:
        if axis in picked:
            try:
                points[axis] = (parse_tokens(picked.pop(axis)),)
            except RooflinesimError as error:
                raise DomainError(f"--pick {axis}: {error}") from None
    scenario = dataclasses.replace(scenario, **points)
    question, notes = step_question(_without_market(scenario))
    if scenario.speculation is not None:
        notes.append(f"{scenario.name}: plain steps are compared: speculation is left aside here")
    if not scenario.batch and question == "decode" and not scenario.traffic:
        raise DomainError(f"{scenario.name}: names no batch; write batch: 64 into it, or give --pick batch=64")
    if not scenario.batch and question == "decode":
        # What runs under the traffic is found for each side.
        scenario = dataclasses.replace(scenario, batch=(1,), context=scenario.context[:1])
    nouns = named(scenario)
    grid = grid_of(scenario, nouns, question)
    for axis, value in picked.items():
        grid = _picked(scenario, grid, axis, value)
    return grid, nouns, notes


def _without_market(scenario: Scenario) -> Scenario:
    """A scenario without what a comparison takes besides its steps."""
    question = scenario.question if scenario.question in ("decode", "prefill") else None
    kept: dict[str, Any] = {"price": {}, "question": question, "objective": None, "speculation": None}
    if scenario.traffic is not None and not scenario.batch:
        kept["traffic"] = None
    return dataclasses.replace(scenario, **kept)


def _picked(scenario: Scenario, grid: Grid, axis: str, value: str) -> Grid:
    """A grid with one value of an axis only."""
    values = list(getattr(grid, axis))
    words = [_said(axis, one) for one in values]
    wanted = _said(axis, parse_quantity(value, "B")) if axis == "memory" else value
    keep = np.array([_plain(word) == _plain(wanted) for word in words])
    if not keep.any():
        raise DomainError(f"{scenario.name}: --pick {axis}={value}: not among {', '.join(words)}")
    return reduced(grid, axis, keep)


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _said(axis: str, value: Any) -> str:
    if value is None:
        return "the profile's" if axis == "memory" else "the checkpoint's"
    return format_quantity(value, "B") if axis == "memory" else str(value)


def _one_of(scenario: Scenario, picks: Mapping[str, str]) -> Side:
    grid, nouns, notes = _question_grid(scenario, picks)
    if grid.points > 1:
        raise DomainError(
            f"{scenario.name}: names {grid.points:,} deployments and points ({axes_line(grid)}); pick one, like"
            f" {_example(grid)}"
        )
    return _side(scenario.name, grid, nouns, notes, scenario, is_served=_is_served(scenario, picks))


def _is_served(scenario: Scenario, picks: Mapping[str, str]) -> bool:
    """Whether the batch is what runs under a scenario's traffic."""
    is_prompt = bool(scenario.prompt) or scenario.asked == "prefill" or "prompt" in picks
    return scenario.traffic is not None and not scenario.batch and "batch" not in picks and not is_prompt


def _example(grid: Grid) -> str:
    short = {name: axis for axis, name in (("context", "context_tokens"), ("prompt", "prompt_tokens"))}
    return " ".join(f"--pick {short.get(axis, axis)}={values[0]}" for axis, values in grid.varying.items())


def _two_of(scenario: Scenario, picks: Mapping[str, str]) -> tuple[Side, Side]:
    """The two deployments or points that one scenario names."""
    grid, nouns, notes = _question_grid(scenario, picks)
    if grid.points != 2:
        found = f"{grid.points:,} deployments and points ({axes_line(grid)})" if grid.points > 1 else "one"
        raise DomainError(
            f"{scenario.name}: names {found}, where two are compared; give a second scenario, or pick for each side,"
            " like --pick a.hardware=h100 --pick b.hardware=h200"
        )
    axes = {**{axis: list(getattr(grid, axis)) for axis in DEPLOYMENT_AXES}, **grid.asked.axes}
    axis = next(axis for axis in axes if len(axes[axis]) == 2)
    sides = [reduced(grid, axis, np.array([index == place for index in range(2)])) for place in range(2)]
    values = list(axes[axis])
    first, second = (
        _side(f"{axis} {_said(axis, value)}", side, nouns, notes, scenario, is_served=_is_served(scenario, picks))
        for value, side in zip(values, sides, strict=True)
    )
    return first, second


def _side(name: str, grid: Grid, nouns: Named, notes: Sequence[str], scenario: Scenario, *, is_served: bool) -> Side:
    values, point = values_at(grid, 0), {axis: float(value[0]) for axis, value in grid.asked.axes.items()}
    case = Case(
        deployment=deployment_at(grid, 0),
        batch=point["batch"],
        context=point["context"],
        prompt=point.get("prompt"),
        price=(scenario.price or {}).get(values["hardware"]),
    )
    if not is_served:
        return Side(name=name, case=case, nouns=nouns, notes=tuple(notes))
    load, state = _served(scenario, case.deployment)
    running = max(1.0, float(np.round(state.running[0])))
    said = f"{scenario.name}: batch and context are the means of what runs under the traffic"
    case = dataclasses.replace(case, batch=running, context=float(np.round(load.mean_context)))
    return Side(name=name, case=case, nouns=nouns, notes=(said,), state=state)


def _served(scenario: Scenario, deployment: Deployment) -> tuple[Load, SteadyState]:
    """The load of a scenario, and what users see of its fleet.

    Raises
    ------
    DomainError : if the scenario names several loads or policies, or more than the fleet can serve.
    """
    points = serving_points(scenario)
    traffic = traffic_of(scenario)
    load = load_of(trace_of(scenario, points[0]["cached_share"])) if traffic.trace else load_at(traffic, points[0])
    if len(points) > 1 or load.points.size > 1:
        raise DomainError(
            f"{scenario.name}: traffic: names several loads or policies; leave one, or give --pick batch=64"
        )
    drafts, _ = drafts_at(deployment, scenario, load, points[0])
    state = steady_state(fleet_at(deployment, scenario, points[0]), load, policy_at(points[0]), drafts)
    if not state.is_stable[0]:
        room = float(state.saturating_requests_per_s[0])
        raise DomainError(
            f"{scenario.name}: traffic: beyond {room:.3g} requests/s queues grow without end; ask for less"
        )
    return load, state
