"""Noise has a verdict with its reasons, and rounds of another clock rate are told."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from rooflinesim.validation.device.clock import Sample  # noqa: E402
from rooflinesim.validation.device.noise import (  # noqa: E402
    CpuTimes,
    cpu_times,
    even_odd_difference,
    noise_between,
    quiet_test,
    steady_rounds,
)


def times(at: float, busy: float, own: float, stolen: float = 0.0) -> CpuTimes:
    return CpuTimes(at=at, busy=busy, own=own, stolen=stolen)


def sample(wall: float, cpu: float = 0.01) -> Sample:
    return Sample(marks=(), time=cpu, wall_time=wall, host_time=cpu, start=0.0)


def test_a_machine_of_its_own_is_quiet() -> None:
    found = noise_between(times(0, 100, 5), times(10, 110.5, 15), [sample(0.0101)] * 20, drift=0.02)
    assert found.other_cores == pytest.approx(0.05)
    assert found.verdict == "quiet"


def test_another_process_on_the_other_core_is_told_with_how_much_it_takes() -> None:
    found = noise_between(times(0, 100, 5), times(10, 120, 15), [sample(0.0101)] * 20)
    assert found.verdict == "noisy: other processes keep 1.0 cores busy (limit 0.5)"


def test_sharing_a_core_shows_in_wall_over_cpu_time_and_short_samples_say_nothing() -> None:
    assert "wall time is 3.00 x CPU time" in noise_between(None, None, [sample(0.03)] * 20).verdict
    assert noise_between(None, None, [sample(0.003, cpu=0.0004)] * 20).verdict == "quiet"


def test_stolen_time_and_drift_are_reasons() -> None:
    found = noise_between(times(0, 100, 5), times(10, 110, 15, stolen=0.5), drift=0.05)
    assert found.verdict == (
        "noisy: the host takes 0.05 cores (limit 0.02); even and odd rounds differ by 5.0% (limit 4%)"
    )


def test_even_and_odd_rounds_are_compared_by_their_medians() -> None:
    # 1.0 in even rounds, 1.1 in odd ones: a tenth less; a task of one round says nothing.
    rounds = [(0, 1.0), (1, 1.1), (2, 1.0), (3, 1.1)]
    assert even_odd_difference([rounds, [(0, 5.0)]]) == pytest.approx(1 - 1 / 1.1)
    assert even_odd_difference([[(0, 5.0)]]) is None


def test_rounds_whose_clock_is_more_than_three_percent_off_are_left_out() -> None:
    assert steady_rounds([1980.0, 1980.0, 1905.0, 1965.0]) == (0, 1, 3)
    assert steady_rounds([]) == ()


def test_the_probe_of_this_machine_has_a_verdict() -> None:
    found = quiet_test(0.1)
    assert found.wall_ratio is not None
    assert found.verdict.startswith(("quiet", "noisy: "))


def test_a_system_without_counters_tells_nothing(tmp_path) -> None:
    assert cpu_times(tmp_path / "none") is None
    assert noise_between(None, None).verdict == "quiet"
