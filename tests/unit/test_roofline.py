import numpy as np
import pytest

from rooflinesim.cost import roofline
from rooflinesim.errors import DomainError


def test_a_time_is_an_amount_over_a_rate():
    assert roofline.memory_time(139e9, 3.35e12) == pytest.approx(0.041493, rel=1e-4)
    assert roofline.compute_time(2e12, 1e15) == 0.002


def test_the_ridge_of_an_h100_is_295():
    assert roofline.ridge_intensity(989.4e12, 3.35e12) == pytest.approx(295.34, abs=0.01)


@pytest.mark.parametrize(
    ("exponent", "time"), [(1.0, 7.0), (2.0, 5.0), (3.0, (27 + 64) ** (1 / 3)), (None, 4.0), (500.0, 4.0)]
)
def test_three_and_four_seconds_overlap_by_the_order_of_the_norm(exponent, time):
    assert roofline.smooth_maximum(3.0, 4.0, exponent) == pytest.approx(time, rel=1e-12)
    assert roofline.smooth_maximum(4.0, 3.0, exponent) == pytest.approx(time, rel=1e-12)


def test_one_activity_alone_takes_its_own_time_and_none_takes_none():
    for exponent in (None, 1.0, 1.85, 50.0):
        assert roofline.smooth_maximum(0.0, 4.0, exponent) == 4.0
        assert roofline.smooth_maximum(0.0, 0.0, exponent) == 0.0


def test_times_too_small_or_large_for_powers_still_overlap():
    both = roofline.smooth_maximum(np.array([1e-200, 1e200]), np.array([1e-200, 1e200]), 8.0)
    np.testing.assert_allclose(both, np.array([1e-200, 1e200]) * 2 ** (1 / 8), rtol=1e-12)


def test_an_overlap_exponent_below_one_is_refused():
    with pytest.raises(DomainError, match=r"overlap exponent 0\.5 is below 1: two activities cannot take more"):
        roofline.smooth_maximum(1.0, 1.0, 0.5)


def test_half_of_the_bandwidth_is_reached_at_the_bytes_of_one_ramp():
    # A ramp of 1 us at 1 TB/s is 1 MB: moving 1 MB takes 2 us.
    assert roofline.effective_bandwidth(1e12, 1e6, 1e-6) == 5e11
    assert roofline.effective_bandwidth(1e12, 1e6, 0.0) == 1e12


def test_little_s_law_asks_two_megabytes_in_flight_of_an_h100():
    assert roofline.bytes_in_flight(3.35e12, 600e-9) == pytest.approx(2.01e6)


@pytest.mark.parametrize(
    ("rows", "columns", "share"),
    [
        (1, 128 * 132, 1.0),  # one wave of 132 tiles
        (1, 128 * 133, 133 / 264),  # one tile more starts a second wave
        (129, 128 * 66, 1.0),  # two rows of 66 tiles
        (1, 128, 1 / 132),
    ],
)
def test_waves_leave_cores_without_a_tile(rows, columns, share):
    assert roofline.wave_efficiency(rows, columns, 128, 128, 132) == share


def test_the_clock_falls_with_the_cube_root_of_the_power_that_is_left():
    assert roofline.clock_factor(700.0, 100.0, 100.0, 500.0) == 1.0
    assert roofline.clock_factor(700.0, 100.0, 100.0, 4000.0) == pytest.approx(0.5)
    assert roofline.clock_factor(150.0, 100.0, 100.0, 500.0) == 0.0


def test_launches_one_by_one_are_a_floor():
    assert roofline.host_bound_time(1e-3, 300, 5e-6) == pytest.approx(1.5e-3)
    assert roofline.host_bound_time(2e-3, 300, 5e-6) == 2e-3
