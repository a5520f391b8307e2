"""One answer for each deployment and point of a scenario, side by side, or the one answer that it names."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rooflinesim.analysis.grid import Grid, deployment_at, rejections, values_at
from rooflinesim.analysis.sweep import axes_line
from rooflinesim.api.answers import resolved
from rooflinesim.api.scenarios import grid_of
from rooflinesim.config.scenarios import Named, named
from rooflinesim.errors import DomainError, RooflinesimError
from rooflinesim.report import scenarios as report
from rooflinesim.report.answer import Answer
from rooflinesim.report.provenance import provenance_of
from rooflinesim.report.scenarios import Part
from rooflinesim.report.sweep_file import rejection_notes
from rooflinesim.report.text import deployment_notes
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.scenario import Scenario

Point = Mapping[str, Any]

MAXIMUM_ANSWERS = 100
"""Tables of an answer, one for each deployment and point of a question that has one answer each."""


def possible_deployments(scenario: Scenario, grid: Grid, rejected: Mapping[int, str]) -> dict[int, Deployment]:
    """The deployments of a grid that were not rejected, by their place.

    Raises
    ------
    DomainError : if none is left.
    """
    if len(rejected) == grid.deployments:
        raise DomainError(f"{scenario.name}: {next(iter(rejected.values()))}")
    return {place: deployment_at(grid, place) for place in range(grid.deployments) if place not in rejected}


def each_answer(scenario: Scenario, points: Sequence[Point], ask: Callable[[Deployment, Point], Answer]) -> Part:
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
    possible = possible_deployments(scenario, grid, rejected)
    notes = [*rejection_notes(rejections(grid, rejected)), *(note for _, one in answers for note in one.notes)]
    return Part(
        result=tuple(one.result for _, one in answers),
        columns=report.answer_columns(grid, answers),
        summary={"answers": [{**report.plain_point(point), **one.summary} for point, one in answers]},
        views=[view for _, one in answers for view in report.titled(scenario.name, one.views)],
        **basis_of(scenario, nouns, grid, possible, notes),
    )


def basis_of(
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
    basis = basis_of(scenario, nouns, grid, {0: asked}, found.notes)
    return dataclasses.replace(
        found,
        describe_inputs=lambda: {**basis["inputs"], **found.inputs},
        notes=list(dict.fromkeys(basis["notes"])),
        views=report.titled(scenario.name, found.views),
    )
