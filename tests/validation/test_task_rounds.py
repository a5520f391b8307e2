"""Rounds: every task often enough, long ones seldom, in one random order, and what breaks off is kept."""

import dataclasses

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from rooflinesim.validation.device.budget import affordable_cells  # noqa: E402
from rooflinesim.validation.device.cells import cells  # noqa: E402
from rooflinesim.validation.device.clock import HostClock  # noqa: E402
from rooflinesim.validation.device.measure import drop_unsteady  # noqa: E402
from rooflinesim.validation.device.rounds import MOST, Record, Task, repeats, run_round, run_rounds  # noqa: E402
from rooflinesim.validation.device.sizes import known_decoder  # noqa: E402


def task(id_: str, log: list[str], breaks: Exception | type[BaseException] | None = None, at: int = 0) -> Task:
    runs = iter(range(10**6))

    def make():
        def run(mark) -> None:
            if breaks is not None and next(runs) >= at:
                raise breaks
            log.append(id_)
            mark("step")

        return run

    return Task(id=id_, make=make, clock=HostClock())


def test_short_tasks_run_often_and_long_ones_once_more() -> None:
    tasks = [task("short", []), task("long", [])]
    assert repeats(tasks, {"short": 0.01, "long": 4.0}, 10.0) == {"short": MOST - 1, "long": 2}
    # A task that is four times as long runs half as often.
    halves = repeats(tasks, {"short": 0.25, "long": 1.0}, 5.5)
    assert halves == {"short": 6, "long": 3} or halves == {"short": 7, "long": 3}
    assert repeats(tasks, {"short": 0.01, "long": 40.0}, 10.0)["long"] == 1
    few = [dataclasses.replace(tasks[0], most=4), tasks[1]]
    assert repeats(few, {"short": 0.01, "long": 4.0}, 10.0)["short"] == 3


def test_a_budget_is_not_exceeded_where_every_task_has_had_its_turn() -> None:
    costs = {f"t{n}": 0.1 * (n + 1) for n in range(20)}
    found = repeats([task(name, []) for name in costs], costs, 60.0)
    assert 0.8 * 60 < sum(costs[name] * runs for name, runs in found.items()) <= 60.0


def test_every_round_has_another_order() -> None:
    log: list[str] = []
    tasks = [task(f"t{n}", log) for n in range(12)]
    record = Record()
    for seed in (1, 2):
        run_round(tasks, record, seed=seed, told=lambda _: None)
    assert sorted(log[:12]) == sorted(log[12:])
    assert log[:12] != log[12:]
    assert [number for number, _ in record.samples["t3"]] == [0, 1]


def test_a_task_without_memory_is_skipped_with_the_reason_and_the_rest_goes_on() -> None:
    log: list[str] = []
    full = RuntimeError("CUDA out of memory. Tried to allocate 3.00 GiB")
    tasks = [task("big", log, full), task("small", log)]
    record = Record()
    run_rounds(tasks, record, seconds=1.0, costs={"big": 0.01, "small": 0.01}, told=lambda _: None)
    assert record.skipped == {"big": "out of memory: CUDA out of memory. Tried to allocate 3.00 GiB"}
    assert len(record.samples["small"]) > 1
    assert "big" not in record.samples


def test_a_bug_is_not_taken_for_missing_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        run_round([task("t", [], RuntimeError("shapes"))], Record(), seed=0, told=lambda _: None)


def test_an_interrupt_keeps_what_was_measured() -> None:
    log: list[str] = []
    tasks = [task("a", log), task("b", log, KeyboardInterrupt, at=2)]
    record = Record()
    run_rounds(tasks, record, seconds=5.0, costs={"a": 0.01, "b": 0.01}, told=lambda _: None)
    assert record.is_interrupted
    assert len(record.samples["b"]) == 2


def test_rounds_at_another_clock_rate_are_taken_out() -> None:
    rates = iter([*[1.98e9] * 6, 1.50e9, 1.50e9, 1.98e9, 1.70e9])
    record = Record()
    for seed in range(5):
        run_round([task("t", [])], record, seed=seed, told=lambda _: None, rate=lambda: next(rates))
    # The fourth round is a quarter slower than the median, the last one slowed down while it ran.
    assert drop_unsteady(record) == (3, 4)
    assert [number for number, _ in record.samples["t"]] == [0, 1, 2]


def test_a_clock_that_never_settles_takes_nothing_out() -> None:
    record = Record(clock_rates=[(2e9, 1e9), (1e9, 2e9)])
    assert drop_unsteady(record) == ()


def test_the_longest_steps_are_left_out_and_fewer_runs_are_taken_before_many_steps_are() -> None:
    asked = list(cells([known_decoder("100M")], ("fp32",)))
    cheap = {cell.id: 1.0 for cell in asked}
    assert len(asked) == 22
    # Two runs of 22 seconds fit in 50 seconds; in 30 seconds only one run of each, and a little more.
    assert len(affordable_cells(asked, cheap, 50.0)[0]) == 22
    assert len(affordable_cells(asked, cheap, 30.0)[0]) == 22
    dear = {**cheap, asked[5].id: 9.0}  # dearer than a 25th of the budget
    kept, skipped = affordable_cells(asked, dear, 46.0)
    assert len(kept) == 21
    assert [(one.id, one.reason) for one in skipped] == [
        (asked[5].id, "takes about 9 s, longer than the budget allows")
    ]
