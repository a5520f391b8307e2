import math

import numpy as np
import pytest
from conftest import deployed, device, small_model
from hypothesis import given, settings
from hypothesis import strategies as st

from rooflinesim.analysis.crossover import LARGEST_BATCH, Crossing, crossing, crossover, elasticity


@pytest.mark.parametrize("flip", [0.3, 1.0, 7.3, 295.34, 2047.5, 2048.0, 1e6 / 3, 1e12])
def test_a_straight_line_flips_where_it_reaches_one_and_stays(flip):
    found = crossing(lambda batch: batch / flip)
    # Bisection ends at a relative width of 1e-13.
    assert found.first == pytest.approx(flip, rel=1e-12)
    assert found.stay == found.first


@settings(max_examples=20)
@given(st.floats(1.0, 1e10), st.floats(0.2, 3.0))
def test_a_power_flips_where_it_reaches_one(flip, power):
    found = crossing(lambda batch: (batch / flip) ** power)
    assert found.first == found.stay == pytest.approx(flip, rel=1e-12)


def test_a_ratio_that_stays_below_one_never_flips():
    assert crossing(lambda batch: batch / (batch + 1.0)) == Crossing(first=None, stay=None)
    assert crossing(lambda _: 0.5) == Crossing(first=None, stay=None)


def test_a_ratio_that_starts_above_one_always_holds():
    found = crossing(lambda _: 2.0)
    assert found.first == found.stay
    assert 0 < found.first <= 2e-9


def test_a_ratio_that_dips_again_first_flips_and_later_stays():
    # Above one in [10, 20) and from 30 on, as a stepped kernel that starts a new wave at 20.
    found = crossing(lambda batch: np.where((batch >= 10) & (batch < 20) | (batch >= 30), 1.5, 0.5))
    assert found.first == pytest.approx(10.0, rel=1e-12)
    assert found.stay == pytest.approx(30.0, rel=1e-12)


def test_tiles_of_64_rows_flip_first_at_a_full_tile_and_stay_later():
    # Compute time grows by tiles: 100 rows of work bought in steps of 64. The ratio of 100 rows' worth of time
    # to 64 ceil(b/64) falls within a tile only when memory grows with b: 0.02 per row here.
    def ratio(batch):
        return np.ceil(batch / 64) * 64 / (100 + 0.9 * batch)

    found = crossing(ratio)
    whole = np.arange(1.0, 5000.0)
    held = ratio(whole) >= 1.0
    first = whole[held.argmax()]
    stay = whole[~held].max() + 1
    assert first < stay
    assert first - 1 < found.first <= first
    assert stay - 1 <= found.stay <= stay


def test_a_ratio_that_falls_below_one_for_good_has_a_first_flip_only():
    found = crossing(lambda batch: np.where((batch >= 5) & (batch < 1e9), 2.0, 0.5))
    assert found.first == pytest.approx(5.0, rel=1e-12)
    assert found.stay is None


def test_the_last_batch_that_is_looked_at_is_two_to_the_forty():
    assert crossing(lambda batch: batch / LARGEST_BATCH).first == pytest.approx(2.0**40)
    assert crossing(lambda batch: batch / (1.001 * LARGEST_BATCH)).first is None


def test_the_flips_of_a_small_model_follow_the_hand_formulas():
    # Nothing but matrices: N_w = 2 (64 x 128 + 64 x 64 + 64 x 256 + 128 x 64) + 64 x 1000 = 137,728.
    layers = small_model().layers[0]
    model = small_model(
        layers=(type(layers)(count=2, attention=layers.attention, mlp=layers.mlp),), final_norm_parameters=0
    )
    deployment = deployed(model, device())  # R = 100 FLOP/B
    weights, phi, kv, ridge = 137_728, 2 * 4 * 4 * 16, 2 * 2 * 2 * 2 * 16, 100.0
    result = crossover(deployment, context=8)
    assert result.row("weight_gemms").batch == pytest.approx(ridge, rel=1e-9)
    step = result.row("step")
    limit = 2 * weights / (ridge * kv - phi)
    assert step.context_limit == pytest.approx(limit, rel=1e-9)
    assert limit == pytest.approx(10.98, abs=0.01)
    assert step.batch == pytest.approx(2 * weights / ((2 * weights + phi * 8) / ridge - kv * 8), rel=1e-9)
    beyond = crossover(deployment, context=12).row("step")
    assert (beyond.batch, beyond.batch_stay, beyond.reason) == (None, None, "never_at_this_context")


def test_elasticity_is_zero_for_fixed_work_and_one_for_work_in_proportion():
    model = small_model()
    assert float(elasticity(deployed(model), 1e-6, 0.0)) == pytest.approx(0.0, abs=1e-6)
    assert float(elasticity(deployed(model), 1e9, 1e6)) == pytest.approx(1.0, abs=1e-6)


def test_what_fits_is_unknown_without_a_capacity():
    row = crossover(deployed(hardware=device(memory_capacity=None))).row("fits")
    assert (row.batch, row.reason) == (None, "unknown_capacity")
    known = crossover(deployed(hardware=device(memory_capacity=1e6)), context=100).row("fits")
    assert (known.batch, known.reason) == (19, "memory_limit")  # worked in test_memory


def test_more_device_memory_never_moves_a_flip_but_only_what_fits():
    small, large = (crossover(deployed(hardware=device(memory_capacity=size))) for size in (1e9, 1e12))
    for one, other in zip(small.rows, large.rows, strict=True):
        assert one.scope == "fits" or one == other
    assert math.isfinite(large.row("fits").batch)


def test_of_several_changes_between_wide_steps_the_first_and_the_last_are_found():
    # Neighbours of the grid are 4,858 and 5,255: between them the ratio rises above 1, falls below it and rises again.
    def ratio(batch):
        return np.where((batch < 5050.0) | ((batch > 5080.0) & (batch < 5110.0)), 0.5, 2.0)

    found = crossing(ratio)
    assert (found.first, found.stay) == (pytest.approx(5050.0, rel=1e-12), pytest.approx(5110.0, rel=1e-12))
