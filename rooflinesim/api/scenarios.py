"""From a scenario to the grid of steps that it names."""

from typing import get_args

from rooflinesim.analysis.grid import Grid, StepQuestion
from rooflinesim.config.scenarios import Named
from rooflinesim.errors import DomainError, UnsupportedError
from rooflinesim.specs.scenario import Scenario
from rooflinesim.units import parse_range

DEFAULT_BATCHES = "1:256"
DEFAULT_CONTEXT = 2048

_UNUSED = ("speculation", "traffic", "objective", "price")


def step_question(scenario: Scenario) -> tuple[StepQuestion, list[str]]:
    """Which kind of step a scenario is about, and what to say about the rest of it.

    Raises
    ------
    UnsupportedError : if its question is none about steps.
    """
    asked = scenario.asked
    if asked in get_args(StepQuestion):
        question: StepQuestion = "prefill" if asked == "prefill" else "decode"
    elif scenario.question is None:
        question = "prefill" if scenario.prompt else "decode"
    else:
        raise UnsupportedError(f"{scenario.name}: question: {asked} has no grid of steps; ask decode or prefill")
    unused = [name for name in _UNUSED if getattr(scenario, name)]
    if question == "prefill" and "traffic" in unused and not scenario.prompt:
        unused.remove("traffic")
    if not unused:
        return question, []
    words = ", ".join(unused)
    return question, [f"{scenario.name}: a {question} step does not depend on {words}: left aside here"]


def contexts(scenario: Scenario) -> tuple[int, ...]:
    """Contexts of decode steps: the scenario's, else what the questions show by default."""
    return scenario.context or (DEFAULT_CONTEXT,)


def grid_of(scenario: Scenario, nouns: Named, question: StepQuestion) -> Grid:
    """The grid of a scenario's steps; without a batch or context those that the question shows by default.

    Raises
    ------
    DomainError : if a prefill has no prompt.
    """
    prompt = scenario.prompt or (scenario.traffic.prompt_tokens if scenario.traffic else ())
    if question == "prefill" and not prompt:
        raise DomainError(f"{scenario.name}: prompt: missing; a prefill needs one, write it like prompt: 2k")
    is_decode = question == "decode"
    parallelism, precision = scenario.parallelism, scenario.precision
    return Grid(
        question=question,
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
        prompt=(1,) if is_decode else prompt,
        context=contexts(scenario) if is_decode else scenario.context or (0,),
        batch=scenario.batch or (parse_range(DEFAULT_BATCHES) if is_decode else (1,)),
    )
