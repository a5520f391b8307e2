"""The law of collectives: algorithms, limits, and what holds for all inputs."""

import dataclasses

import numpy as np
import pytest

from rooflinesim.cost.all_reduce import all_reduce_law_time, all_to_all_law_time, exchange_time, gather_law_time
from rooflinesim.errors import RooflinesimError
from rooflinesim.specs.collective_law import CollectiveLaw, Exchange

ONE_SHOT = Exchange(latency=4e-6, rank_latency=1e-7, bandwidth_efficiency=0.6)
TWO_SHOT = Exchange(latency=9e-6, rank_latency=1e-7, bandwidth_efficiency=0.7)
BULK = Exchange(latency=25e-6, rank_latency=1e-6, bandwidth_efficiency=0.9, copies=0.4)
LAW = CollectiveLaw(one_shot=ONE_SHOT, two_shot=TWO_SHOT, bulk=BULK, gather=BULK, all_to_all=BULK)
WIDE = 450e9


def test_a_small_message_takes_one_shot() -> None:
    # Eight ranks: 4 us + 6 x 0.1 us, and seven times 8 KiB at 0.6 x 450 GB/s.
    assert all_reduce_law_time(8, 8192.0, WIDE, LAW) == pytest.approx(4.6e-6 + 7 * 8192 / 270e9)


def test_a_middle_message_takes_two_shot() -> None:
    assert all_reduce_law_time(8, 2.0e6, WIDE, LAW) == pytest.approx(9.6e-6 + 1.75 * 2.0e6 / 315e9)


def test_a_large_message_takes_bulk() -> None:
    limited = dataclasses.replace(LAW, two_shot=dataclasses.replace(TWO_SHOT, limit=8e6))
    assert all_reduce_law_time(8, 1e8, WIDE, limited) == pytest.approx(31e-6 + (1.75 + 0.4) * 1e8 / 405e9)


def test_a_stated_limit_takes_an_algorithm_away_except_from_pairs() -> None:
    limited = dataclasses.replace(LAW, one_shot=dataclasses.replace(ONE_SHOT, gathered_limit=2.0**21))
    size = 2.0**18
    assert all_reduce_law_time(8, size, WIDE, limited) == pytest.approx(9.6e-6 + 1.75 * size / 315e9)
    assert all_reduce_law_time(2, 2.0**20, WIDE, limited) == all_reduce_law_time(2, 2.0**20, WIDE, LAW)


def test_time_rises_with_the_message_across_algorithms_and_limits() -> None:
    limited = dataclasses.replace(
        LAW,
        one_shot=dataclasses.replace(ONE_SHOT, gathered_limit=2.0**21),
        two_shot=dataclasses.replace(TWO_SHOT, limit=8e6),
    )
    sizes = np.geomspace(256.0, 1e9, 2000)
    for ranks in (2, 4, 8, 72):
        for law in (LAW, limited):
            assert np.all(np.diff(all_reduce_law_time(ranks, sizes, WIDE, law)) >= 0.0)


def test_time_rises_with_ranks() -> None:
    ranks = np.arange(1.0, 73.0)
    for size in (1e3, 1e6, 1e9):
        assert np.all(np.diff(all_reduce_law_time(ranks, size, WIDE, LAW)) >= 0.0)


def test_one_rank_exchanges_nothing() -> None:
    assert all_reduce_law_time(1, 1e6, WIDE, LAW) == 0.0
    assert gather_law_time(1, 1e6, WIDE, LAW) == 0.0
    assert all_to_all_law_time(1, 0.0, WIDE, LAW) == 0.0


def test_scalar_equals_array() -> None:
    sizes = np.array([1e3, 1e6, 1e8])
    expected = [float(all_reduce_law_time(4, float(size), WIDE, LAW)) for size in sizes]
    assert all_reduce_law_time(np.full(3, 4.0), sizes, WIDE, LAW) == pytest.approx(expected, rel=1e-15)


def test_a_shared_host_divides_bandwidth_among_the_other_ranks() -> None:
    alone = exchange_time(8, 1e9, 0.0, 31.5e9, dataclasses.replace(BULK, latency=0.0, rank_latency=0.0), 0.0)
    shared = exchange_time(8, 1e9, 0.0, 31.5e9, dataclasses.replace(BULK, latency=0.0, rank_latency=0.0), 1.0)
    assert shared == pytest.approx(7 * alone)


def test_a_gather_sends_each_share_to_all_others() -> None:
    plain = dataclasses.replace(LAW, gather=Exchange(latency=5e-6, bandwidth_efficiency=1.0))
    assert gather_law_time(4, 1e6, WIDE, plain) == pytest.approx(5e-6 + 3e6 / WIDE)


def test_an_all_to_all_counts_what_is_sent() -> None:
    plain = dataclasses.replace(LAW, all_to_all=Exchange(latency=5e-6, bandwidth_efficiency=1.0))
    assert all_to_all_law_time(4, 3e6, WIDE, plain) == pytest.approx(5e-6 + 3e6 / WIDE)


def test_a_law_without_shots_uses_bulk() -> None:
    bare = dataclasses.replace(LAW, one_shot=None, two_shot=None)
    assert all_reduce_law_time(2, 1e3, WIDE, bare) == pytest.approx(25e-6 + 1.4 * 1e3 / 405e9)


def test_a_negative_latency_is_refused() -> None:
    with pytest.raises(RooflinesimError, match="latency"):
        Exchange(latency=-1e-6, bandwidth_efficiency=0.5)
