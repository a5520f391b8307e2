"""Tasks in one random order, round after round, until a budget is spent: drift hits all of them alike."""

import dataclasses
import random
import time
from collections.abc import Callable, Mapping, Sequence

from rooflinesim.validation.device.clock import Clock, Marked, Sample

FEWEST = 2
"""Runs of a task, however long it takes."""

MOST = 9
"""Runs of a task, however short it is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """Something to be timed again and again. `make` gives fresh, cold work each time it is called, untimed."""

    id: str
    make: Callable[[], Marked]


@dataclasses.dataclass(kw_only=True)
class Record:
    """Samples of tasks by round, and which tasks gave up and why; `rounds` have been begun."""

    samples: dict[str, list[tuple[int, Sample]]] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    rounds: int = 0
    is_interrupted: bool = False

    def cost(self, id_: str) -> float:
        """Wall time of a task's shortest run [s]."""
        return min(sample.wall_time for _, sample in self.samples[id_])


Progress = Callable[[str, int, int], None]


def run_round(tasks: Sequence[Task], clock: Clock, record: Record, *, seed: int, told: Callable[[float], None]) -> None:
    """Run each task once in a random order and record it; a task that fails for memory is skipped from then on."""
    order = list(tasks)
    random.Random(seed).shuffle(order)
    number = record.rounds
    record.rounds += 1
    for task in order:
        if task.id in record.skipped:
            continue
        started = time.perf_counter()
        try:
            sample = clock.timed(task.make())
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
                raise
            record.skipped[task.id] = f"out of memory: {str(error).splitlines()[0][:120]}"
            continue
        record.samples.setdefault(task.id, []).append((number, sample))
        told(time.perf_counter() - started)


def repeats(costs: Mapping[str, float], seconds: float) -> dict[str, int]:
    """Further runs of each task, from its cost, that fit in a time: long ones get fewer, none more than `MOST`.

    Every task is given the same time, as far as it can use it; at least the second run of a task is always asked for.
    """
    low, high = 0.0, seconds
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _taken(costs, middle) <= seconds else (low, middle)
    return {id_: _runs(cost, low) for id_, cost in costs.items()}


def _runs(cost: float, each: float) -> int:
    return int(min(max(each / max(cost, 1e-9), FEWEST - 1), MOST - 1))


def _taken(costs: Mapping[str, float], each: float) -> float:
    return sum(cost * _runs(cost, each) for cost in costs.values())


def run_rounds(
    tasks: Sequence[Task],
    clock: Clock,
    record: Record,
    *,
    seconds: float,
    costs: Mapping[str, float],
    told: Callable[[float], None],
) -> None:
    """Further rounds within a time: each task takes part in as many as `repeats` allows, spread evenly.

    An interrupt ends them, and what was measured is kept.
    """
    started = time.perf_counter()
    wanted = repeats(costs, seconds)
    most = max(wanted.values(), default=0)
    try:
        for turn in range(most):
            chosen = [task for task in tasks if _is_due(turn, wanted[task.id], most)]
            left = seconds - (time.perf_counter() - started)
            if turn >= FEWEST - 1 and sum(costs[task.id] for task in chosen) > left:
                chosen = _affordable(chosen, costs, left)
            run_round(chosen, clock, record, seed=1 + turn, told=told)
    except KeyboardInterrupt:
        record.is_interrupted = True


def _is_due(turn: int, wanted: int, most: int) -> bool:
    """Whether a task of so many runs takes part in a turn; runs are spread evenly, the first turn has all."""
    return turn == 0 or (turn * wanted) // most != ((turn - 1) * wanted) // most


def _affordable(tasks: Sequence[Task], costs: Mapping[str, float], seconds: float) -> list[Task]:
    """The shortest tasks that fit in a time."""
    kept: list[Task] = []
    for task in sorted(tasks, key=lambda one: costs[one.id]):
        seconds -= costs[task.id]
        if seconds < 0:
            break
        kept.append(task)
    return kept
