"""Tasks in one random order, round after round, until a budget is spent: drift hits all of them alike."""

import dataclasses
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence

from rooflinesim.validation.device.clock import Clock, Marked, Sample

FEWEST = 2
"""Runs of a task, however long it takes."""

MOST = 15
"""Runs of a task, however short it is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """Something that a clock times again and again, `most` times at most.

    `make` gives fresh, cold work each time it is called, untimed.
    """

    id: str
    make: Callable[[], Marked]
    clock: Clock
    most: int = MOST


@dataclasses.dataclass(kw_only=True)
class Record:
    """Samples of tasks by round, and which tasks gave up and why; `rounds` have been begun.

    `clock_rates` are those of the device [Hz] at the beginning and the end of each round, where it tells them.
    """

    samples: dict[str, list[tuple[int, Sample]]] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    rounds: int = 0
    clock_rates: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    is_interrupted: bool = False

    def cost(self, id_: str) -> float:
        """Wall time of a task's shortest run [s]."""
        return min(sample.wall_time for _, sample in self.samples[id_])


def shortage(error: MemoryError | RuntimeError) -> str:
    """Why memory ran out, in one line; an error of another kind is raised again."""
    if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
        raise error
    return f"out of memory: {str(error).partition(chr(10))[0][:120]}"


Progress = Callable[[str, int, int], None]


Rate = Callable[[], float | None]
"""The device's clock rate now [Hz]; None where it does not tell."""


def unknown_rate() -> float | None:
    """The clock rate of a device that does not tell it."""
    return None


def run_round(
    tasks: Sequence[Task],
    record: Record,
    *,
    seed: int,
    told: Callable[[float], None],
    rate: Rate = unknown_rate,
    until: float = float("inf"),
) -> None:
    """Run each task once in a random order and record it; a task that fails for memory is skipped from then on.

    What has not begun `until` a time of the performance counter does not begin.
    """
    order = list(tasks)
    random.Random(seed).shuffle(order)
    number = record.rounds
    record.rounds += 1
    before = rate()
    for task in order:
        if task.id in record.skipped:
            continue
        started = time.perf_counter()
        if started > until:
            break
        try:
            sample = task.clock.timed(task.make())
        except (MemoryError, RuntimeError) as error:
            record.skipped[task.id] = shortage(error)
            continue
        record.samples.setdefault(task.id, []).append((number, sample))
        told(time.perf_counter() - started)
    after = rate()
    if before is not None and after is not None:
        record.clock_rates.append((before, after))


def repeats(tasks: Sequence[Task], costs: Mapping[str, float], seconds: float) -> dict[str, int]:
    """Further runs of each task, from its cost, that fit in a time: long ones get fewer.

    A task is run as often as the root of its cost is short, which makes the sum of the variances of means least where
    single runs scatter alike; at least the second run of a task is always asked for.
    """
    low, high = 0.0, MOST * math.sqrt(max([*costs.values(), 1e-9]))
    for _ in range(40):
        middle = 0.5 * (low + high)
        whole = sum(costs[task.id] * _runs(task, costs[task.id], middle) for task in tasks)
        low, high = (middle, high) if whole <= seconds else (low, middle)
    return {task.id: _runs(task, costs[task.id], low) for task in tasks}


def _runs(task: Task, cost: float, effort: float) -> int:
    return int(min(max(effort / math.sqrt(max(cost, 1e-9)), FEWEST - 1), task.most - 1))


def run_rounds(
    tasks: Sequence[Task],
    record: Record,
    *,
    seconds: float,
    costs: Mapping[str, float],
    told: Callable[[float], None],
    rate: Rate = unknown_rate,
) -> None:
    """Further rounds within a time: each task takes part in as many as `repeats` allows, spread evenly.

    An interrupt ends them, and what was measured is kept.
    """
    started = time.perf_counter()
    wanted = repeats(tasks, costs, seconds)
    most = max(wanted.values(), default=0)
    try:
        for turn in range(most):
            chosen = [task for task in tasks if _is_due(turn, wanted[task.id], most)]
            left = seconds - (time.perf_counter() - started)
            if turn >= FEWEST - 1 and sum(costs[task.id] for task in chosen) > left:
                chosen = _affordable(chosen, costs, left)
            run_round(chosen, record, seed=1 + turn, told=told, rate=rate, until=started + seconds)
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
