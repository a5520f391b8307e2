"""The answers to the questions of scenarios, side by side."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rooflinesim import __version__
from rooflinesim.analysis import crossover as crossover_analysis
from rooflinesim.analysis import memory as memory_analysis
from rooflinesim.analysis.grid import Grid, chunk_columns, deployment_at, rejections, values_at
from rooflinesim.analysis.sweep import axes_line
from rooflinesim.api.answers import answer, resolved
from rooflinesim.api.drafted_scenarios import speculation_answer
from rooflinesim.api.plan import plan_part
from rooflinesim.api.scenario_drafting import speculation_points
from rooflinesim.api.scenarios import contexts, grid_of, step_question
from rooflinesim.api.serving import serving_answer, serving_points, simulation_answer
from rooflinesim.config.scenarios import Named, named
from rooflinesim.errors import DomainError, RooflinesimError
from rooflinesim.report import crossover as crossover_report
from rooflinesim.report import memory as memory_report
from rooflinesim.report import scenarios as report
from rooflinesim.report.answer import Answer
from rooflinesim.report.provenance import provenance_of
from rooflinesim.report.scenarios import Part
from rooflinesim.report.sweep_file import rejection_notes
from rooflinesim.report.text import deployment_notes
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.scenario import Question, Scenario

Point = Mapping[str, Any]

MAXIMUM_ROWS = 100_000
"""Rows of an answer that is held and shown whole; a sweep writes more."""

MAXIMUM_ANSWERS = 100
"""Tables of an answer, one for each deployment and point of a question that has one answer each."""


def run(*, scenarios: Sequence[Scenario]) -> Answer:
    """The answers to the questions of scenarios, one after another; each row names its scenario.

    A scenario without a question is asked what it holds the facts for, see `Scenario.asked`.

    Raises
    ------
    RooflinesimError : if a name is unknown, no deployment can be, or a question has no answer in this version.
    """
    parts = [part_of(scenario) for scenario in scenarios]
    return Answer(
        command="run",
        version=__version__,
        result=tuple(part.result for part in parts),
        columns=report.together(parts),
        describe_inputs=lambda: {"scenarios": [part.inputs for part in parts]},
        provenance=tuple(dict.fromkeys(one for part in parts for one in part.provenance)),
        summary={"scenarios": {part.inputs["scenario"]: part.summary for part in parts}},
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        views=[view for part in parts for view in part.views],
    )


def part_of(scenario: Scenario) -> Part:
    """The answer to one scenario's question.

    Raises
    ------
    RooflinesimError : if a name is unknown, no deployment can be, or the question has no answer in this version.
    """
    return ANSWERS.get(scenario.asked, _steps)(scenario)


def _steps(scenario: Scenario) -> Part:
    """Times of all steps that a scenario names."""
    question, notes = step_question(scenario)
    nouns = named(scenario)
    grid = grid_of(scenario, nouns, question)
    if grid.points > MAXIMUM_ROWS:
        raise DomainError(
            f"{scenario.name}: {grid.points:,} points ({axes_line(grid)}) are too many to show; at most"
            f" {MAXIMUM_ROWS:,}: shorten an axis, or write them with `rooflinesim sweep SCENARIO -o FILE.csv`"
        )
    found = chunk_columns(grid, 0, grid.points)
    asked = _possible(scenario, grid, found.rejected)
    return Part(
        result=found.columns,
        columns=report.step_columns(found.columns),
        summary={"rows": grid.points_each * len(asked), "fastest": report.fastest(found.columns)},
        views=[report.step_view(scenario.name, grid, found.columns, next(iter(asked.values())))],
        **_basis(scenario, nouns, grid, asked, [*notes, *rejection_notes(rejections(grid, found.rejected))]),
    )


def _possible(scenario: Scenario, grid: Grid, rejected: Mapping[int, str]) -> dict[int, Deployment]:
    """The deployments of a grid that were not rejected, by their place.

    Raises
    ------
    DomainError : if none is left.
    """
    if len(rejected) == grid.deployments:
        raise DomainError(f"{scenario.name}: {next(iter(rejected.values()))}")
    return {place: deployment_at(grid, place) for place in range(grid.deployments) if place not in rejected}


def _each(scenario: Scenario, points: Sequence[Point], ask: Callable[[Deployment, Point], Answer]) -> Part:
    """The answers to one question at each point about every deployment of a scenario.

    `ask` gets a point together with the values of the deployment's axes.
    """
    nouns = named(scenario)
    grid = grid_of(scenario, nouns, "decode")
    if grid.deployments * len(points) > MAXIMUM_ANSWERS:
        raise DomainError(
            f"{scenario.name}: {grid.deployments * len(points):,} answers ({axes_line(grid)}) are too many to show;"
            f" at most {MAXIMUM_ANSWERS:,}: shorten an axis"
        )
    answers: list[tuple[Point, Answer]] = []
    rejected: dict[int, str] = {}
    for place in range(grid.deployments):
        try:
            asked = deployment_at(grid, place)
            of_place = [{**values_at(grid, place), **point} for point in points]
            answers.extend([(point, ask(asked, point)) for point in of_place])
        except RooflinesimError as error:
            rejected[place] = str(error)
    possible = _possible(scenario, grid, rejected)
    notes = [*rejection_notes(rejections(grid, rejected)), *(note for _, one in answers for note in one.notes)]
    return Part(
        result=tuple(one.result for _, one in answers),
        columns=report.answer_columns(grid, answers),
        summary={"answers": [{**report.plain_point(point), **one.summary} for point, one in answers]},
        views=[view for _, one in answers for view in report.titled(scenario.name, one.views)],
        **_basis(scenario, nouns, grid, possible, notes),
    )


def _basis(
    scenario: Scenario, nouns: Named, grid: Grid, asked: Mapping[int, Deployment], notes: Sequence[str]
) -> dict[str, Any]:
    """What an answer rests on: its inputs, where its numbers come from, and what a reader must know."""
    shown = list(asked.items())[:MAXIMUM_ANSWERS]
    return {
        "inputs": {
            "scenario": scenario.name,
            "question": scenario.asked,
            "axes": {name: list(values) for name, values in grid.varying.items()},
            "deployments": [
                {**report.plain_point(values_at(grid, place)), **resolved(one, {}, {})} for place, one in shown
            ],
            "paths": dict(nouns.paths),
        },
        "provenance": tuple(dict.fromkeys(fact for _, one in shown for fact in provenance_of(one))),
        "notes": [*nouns.notes, *notes, *dict.fromkeys(note for _, one in shown for note in deployment_notes(one))],
    }


def _crossover(scenario: Scenario) -> Part:
    """Batches at which decoding flips."""

    def ask(asked: Deployment, point: Point) -> Answer:
        result = crossover_analysis.crossover(asked, context=point["context_tokens"])
        views = [crossover_report.crossover_view(asked, result)]
        return answer("crossover", asked, None, result, crossover_report.crossover_content(result), views, {}, [])

    return _each(scenario, [{"context_tokens": context} for context in contexts(scenario)], ask)


def _memory(scenario: Scenario) -> Part:
    """Byte ledgers, and what fits."""

    def ask(asked: Deployment, point: Point) -> Answer:
        result = memory_analysis.memory(asked, batch=point["batch"], context=point["context_tokens"])
        views = [memory_report.memory_view(asked, result)]
        return answer("memory", asked, None, result, memory_report.memory_content(result), views, {}, [])

    points = [
        {"context_tokens": context, "batch": batch}
        for context in contexts(scenario)
        for batch in scenario.batch or (1,)
    ]
    return _each(scenario, points, ask)


def _speculate(scenario: Scenario) -> Part:
    """What speculation gains, and which draft to use when."""
    return _each(scenario, speculation_points(scenario), speculation_answer(scenario))


def _serve(scenario: Scenario) -> Part:
    """What users see under a steady load."""
    return _each(scenario, serving_points(scenario), serving_answer(scenario))


def _simulate(scenario: Scenario) -> Part:
    """What a simulation of the traffic gives, a row for each fleet."""
    return _each(scenario, serving_points(scenario), simulation_answer(scenario))


def one_answer(scenario: Scenario, points: Sequence[Point], ask: Callable[[Deployment, Point], Answer]) -> Answer:
    """The answer to a question about the one deployment and point that a scenario names.

    Raises
    ------
    DomainError : if it names several.
    """
    nouns = named(scenario)
    grid = grid_of(scenario, nouns, "decode")
    if grid.deployments * len(points) > 1:
        varying = [name for name in grid.varying if name not in ("batch", "context_tokens", "prompt_tokens")]
        varying += [name for name in points[0] if len({point[name] for point in points}) > 1]
        raise DomainError(
            f"{scenario.name}: names {grid.deployments * len(points):,} fleets, but one is meant here: give one value"
            f" of {', '.join(varying)}, or use `run` with question: simulate"
        )
    asked = deployment_at(grid, 0)
    found = ask(asked, {**values_at(grid, 0), **points[0]})
    basis = _basis(scenario, nouns, grid, {0: asked}, found.notes)
    return dataclasses.replace(
        found,
        describe_inputs=lambda: {**basis["inputs"], **found.inputs},
        notes=list(dict.fromkeys(basis["notes"])),
        views=report.titled(scenario.name, found.views),
    )


ANSWERS: Mapping[Question, Callable[[Scenario], Part]] = {
    "decode": _steps,
    "prefill": _steps,
    "crossover": _crossover,
    "memory": _memory,
    "speculate": _speculate,
    "plan": plan_part,
    "serve": _serve,
    "simulate": _simulate,
}
"""How each question of a scenario is answered."""
