"""The answers to the questions of scenarios, side by side."""

from collections.abc import Callable, Mapping, Sequence

from rooflinesim import __version__
from rooflinesim.analysis import crossover as crossover_analysis
from rooflinesim.analysis import memory as memory_analysis
from rooflinesim.analysis.grid import chunk_columns, rejections
from rooflinesim.analysis.sweep import axes_line
from rooflinesim.api.answers import answer
from rooflinesim.api.drafted_scenarios import speculation_answer
from rooflinesim.api.plan import plan_part
from rooflinesim.api.scenario_answers import Point, basis_of, each_answer, possible_deployments
from rooflinesim.api.scenario_drafting import speculation_points
from rooflinesim.api.scenarios import contexts, grid_of, step_question
from rooflinesim.api.serving import serving_answer, serving_points, simulation_answer
from rooflinesim.config.scenarios import named
from rooflinesim.errors import DomainError
from rooflinesim.report import crossover as crossover_report
from rooflinesim.report import memory as memory_report
from rooflinesim.report import scenarios as report
from rooflinesim.report.answer import Answer
from rooflinesim.report.scenarios import Part
from rooflinesim.report.sweep_file import rejection_notes
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.scenario import Question, Scenario

MAXIMUM_ROWS = 100_000
"""Rows of an answer that is held and shown whole; a sweep writes more."""


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
    asked = possible_deployments(scenario, grid, found.rejected)
    return Part(
        result=found.columns,
        columns=report.step_columns(found.columns),
        summary={"rows": grid.points_each * len(asked), "fastest": report.fastest(found.columns)},
        views=[report.step_view(scenario.name, grid, found.columns, next(iter(asked.values())))],
        **basis_of(scenario, nouns, grid, asked, [*notes, *rejection_notes(rejections(grid, found.rejected))]),
    )


def _crossover(scenario: Scenario) -> Part:
    """Batches at which decoding flips."""

    def ask(asked: Deployment, point: Point) -> Answer:
        result = crossover_analysis.crossover(asked, context=point["context_tokens"])
        views = [crossover_report.crossover_view(asked, result)]
        return answer("crossover", asked, None, result, crossover_report.crossover_content(result), views, {}, [])

    return each_answer(scenario, [{"context_tokens": context} for context in contexts(scenario)], ask)


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
    return each_answer(scenario, points, ask)


def _speculate(scenario: Scenario) -> Part:
    """What speculation gains, and which draft to use when."""
    return each_answer(scenario, speculation_points(scenario), speculation_answer(scenario))


def _serve(scenario: Scenario) -> Part:
    """What users see under a steady load."""
    return each_answer(scenario, serving_points(scenario), serving_answer(scenario))


def _simulate(scenario: Scenario) -> Part:
    """What a simulation of the traffic gives, a row for each fleet."""
    return each_answer(scenario, serving_points(scenario), simulation_answer(scenario))


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
