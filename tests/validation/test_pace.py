"""The pace of a machine: what changes for all is taken out, what is a task's own stays."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from rooflinesim.validation.device.clock import Sample  # noqa: E402
from rooflinesim.validation.device.pace import at_one_pace, pace_spread, with_one_pace  # noqa: E402
from rooflinesim.validation.device.rounds import Record  # noqa: E402

TIMES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.3)
"""True times of tasks [s]."""


def slow(at: float) -> float:
    """A pace that changes over a few seconds, from 1 to 1.3 and back."""
    return 1.15 + 0.15 * math.sin(2.0 * math.pi * at / 4.0)


def samples(rounds: int, pace=slow, noise: float = 0.02) -> list[list[Sample]]:
    """Six tasks in random order, round after round, each as slow as the machine is meanwhile."""
    drawn = np.random.default_rng(0)
    found: list[list[Sample]] = [[] for _ in TIMES]
    now = 100.0
    for _ in range(rounds):
        for task in drawn.permutation(len(TIMES)):
            time = TIMES[task] * pace(now) * math.exp(noise * drawn.normal())
            marks = (("first", 0.4 * time), ("second", 0.6 * time))
            found[task].append(Sample(marks=marks, time=time, wall_time=time, host_time=time, start=now))
            now += time
    return found


def scatter(found: list[list[Sample]]) -> float:
    return float(np.mean([np.std(np.log([one.time for one in own])) for own in found]))


def test_a_pace_that_all_share_is_taken_out_and_all_are_told_at_the_same() -> None:
    clocked = samples(40)
    even = at_one_pace(clocked)
    assert scatter(clocked) > 0.08
    assert scatter(even) < 0.6 * scatter(clocked)
    ratios = [np.median([one.time for one in own]) / time for own, time in zip(even, TIMES, strict=True)]
    assert max(ratios) / min(ratios) < 1.04
    assert 1.05 < np.median(ratios) < 1.25


def test_marks_and_times_are_divided_alike_and_the_clocked_time_is_kept() -> None:
    clocked = samples(10)
    for before, after in zip(clocked, at_one_pace(clocked), strict=True):
        for one, even in zip(before, after, strict=True):
            assert even.time * even.pace == pytest.approx(one.time)
            assert sum(seconds for _, seconds in even.marks) == pytest.approx(even.time)
            assert even.wall_time == one.wall_time


def test_the_own_time_of_a_sample_does_not_tell_its_pace() -> None:
    clocked = samples(20, pace=lambda _at: 1.0, noise=0.0)
    first = clocked[2][7]
    clocked[2][7] = Sample(
        marks=(), time=2.0 * first.time, wall_time=first.wall_time, host_time=first.host_time, start=first.start
    )
    even = at_one_pace(clocked)
    assert even[2][7].time == pytest.approx(2.0 * first.time, rel=0.01)


def test_a_steady_machine_has_one_pace() -> None:
    even = at_one_pace(samples(20, pace=lambda _at: 1.3, noise=0.0))
    assert pace_spread([one for own in even for one in own]) == pytest.approx(0.0, abs=1e-12)
    assert pace_spread([]) == 0.0


def test_tasks_that_ran_once_tell_nothing_of_the_pace() -> None:
    once = [own[:1] for own in samples(1)]
    assert at_one_pace(once) == once


def test_a_record_keeps_its_rounds() -> None:
    clocked = samples(6)
    record = Record(samples={f"t{n}": list(enumerate(own)) for n, own in enumerate(clocked)})
    with_one_pace(record)
    assert [number for number, _ in record.samples["t3"]] == list(range(6))
    assert any(sample.pace != 1.0 for _, sample in record.samples["t3"])
    with_one_pace(Record())
