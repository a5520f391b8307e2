"""The best points of a Pareto front are those that nothing beats."""

import numpy as np
from conftest import deployed, device, serving_stack

from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.pareto import pareto


def splits(**changes):
    return [deployed(stack=serving_stack(), hardware=device(**changes), ranks=ranks) for ranks in (1, 2)]


def test_rates_are_those_of_decode_over_the_devices():
    found = pareto(splits(), batch=[1, 8, 64], context=512)
    own = decode(splits()[1], batch=[1, 8, 64], context=512)
    second = found.tensor_parallel == 2
    np.testing.assert_array_equal(found.tokens_per_s_per_user[second], own.tokens_per_s_per_user)
    np.testing.assert_array_equal(found.tokens_per_s_per_device[second], own.tokens_per_s / 2)


def test_best_points_are_beaten_by_none_and_beat_all_others_that_fit():
    found = pareto(splits(), batch=2.0 ** np.arange(12), context=512)
    first, second = found.tokens_per_s_per_user, found.tokens_per_s_per_device
    for point in range(first.size):
        beats = (
            (first >= first[point]) & (second >= second[point]) & ((first > first[point]) | (second > second[point]))
        )
        assert found.is_best[point] == (not (beats & found.fits).any())


def test_what_does_not_fit_is_never_best():
    found = pareto(splits(memory_capacity=1e6), batch=[1, 8, 64, 512], context=2048)
    assert not found.fits.all()
    assert not (found.is_best & ~found.fits).any()
