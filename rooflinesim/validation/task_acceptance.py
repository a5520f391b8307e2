"""How acceptance on one task compares with the mean over a benchmark's tasks, where only the mean was published."""

from collections.abc import Mapping
from typing import Literal

from rooflinesim.validation.published_speculation import Drafting, SpeculativeRun

DraftFamily = Literal["head", "model", "lookup"]
"""What a draft knows: the target's own hidden states, text alone, or only the words that stand in the context."""

TASKS = ("multi-turn conversation", "translation", "summarization", "qa", "math reasoning", "rag")
"""Tasks of Spec-Bench, which publishes the accepted length as a mean over them and the speed-up of each."""

TASK_SHARES: Mapping[DraftFamily, tuple[float, ...]] = {
    "head": (1.16, 0.74, 0.89, 0.86, 1.19, 0.81),
    "model": (1.20, 0.65, 1.24, 1.00, 1.07, 1.18),
    "lookup": (1.03, 0.46, 2.17, 0.54, 1.15, 1.26),
}
"""Accepted tokens, bonus apart, of each of `TASKS` over their mean; fitted to Spec-Bench's speed-ups of 102 rows."""


def family_of(drafting: Drafting) -> DraftFamily:
    """What a draft of this kind knows."""
    match drafting:
        case "draft-model" | "self":
            return "model"
        case "lookup" | "lookahead":
            return "lookup"
        case _:
            return "head"


def task_index(run: SpeculativeRun) -> int | None:
    """Place of a run's task in `TASKS`; None where its acceptance is its own, or the task is not among them."""
    task = run.labels.get("task", "").strip().lower()
    return TASKS.index(task) if run.of_all_tasks and task in TASKS else None


def task_share(run: SpeculativeRun) -> float:
    """Accepted tokens of a run's task over the published mean [1]."""
    index = task_index(run)
    return 1.0 if index is None else TASK_SHARES[family_of(run.drafting)][index]
