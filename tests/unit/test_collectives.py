import itertools
import math

import pytest

from rooflinesim.cost import collectives as comm
from rooflinesim.workload.experts import distinct_ranks

MESSAGE, LATENCY, BANDWIDTH = 1e6, 1e-6, 1e11  # 1 MB at 100 GB/s takes 10 us


@pytest.mark.parametrize(
    ("algorithm", "microseconds"),
    [
        (comm.ring_time, 14 + 17.5),  # 14 stages; 2 x 7/8 of the message
        (comm.one_shot_time, 1 + 70),  # seven whole messages
        (comm.two_shot_time, 2 + 17.5),
        (comm.in_switch_time, 1 + 11.25),  # 1 + 1/8 of the message
    ],
)
def test_an_all_reduce_of_eight_devices(algorithm, microseconds):
    assert algorithm(8, MESSAGE, LATENCY, BANDWIDTH) == pytest.approx(microseconds * 1e-6, rel=1e-12)


def test_two_shot_takes_over_where_both_take_the_same_time():
    message = comm.two_shot_from_bytes(8, LATENCY, BANDWIDTH)
    assert message == pytest.approx(1e5 * 8 / 42)
    one, two = (time(8, message, LATENCY, BANDWIDTH) for time in (comm.one_shot_time, comm.two_shot_time))
    assert one == pytest.approx(two, rel=1e-12)
    assert comm.two_shot_from_bytes(2, LATENCY, BANDWIDTH) == math.inf


def test_more_devices_than_the_best_cost_more_than_they_save():
    # X / t + 4 L (t - 1) l with X = 5 ms, 80 layers and 1 us per stage.
    best = comm.best_ring_ranks(5e-3, 80, 1e-6)
    assert best == pytest.approx(math.sqrt(5e-3 / 3.2e-4))
    total = [5e-3 / ranks + 320e-6 * (ranks - 1) for ranks in (best * 0.99, best, best * 1.01)]
    assert min(total) == total[1]


@pytest.mark.parametrize(("experts", "active", "ranks"), [(4, 2, 2), (6, 3, 3), (8, 1, 4), (8, 4, 2)])
def test_distinct_ranks_agree_with_all_choices_written_out(experts, active, ranks):
    choices = list(itertools.combinations(range(experts), active))
    mean = sum(len({expert * ranks // experts for expert in choice}) for choice in choices) / len(choices)
    assert distinct_ranks(experts, active, ranks) == pytest.approx(mean, rel=1e-12)


def test_the_busiest_rank_has_the_mean_and_its_spread():
    assert comm.busiest_rank_tokens(128.0, 8, 8) == pytest.approx(128 + math.sqrt(224 * math.log(8)))
    assert comm.busiest_rank_tokens(128.0, 8, 1) == 1024


def test_four_stages_and_eight_batches_wait_three_elevenths():
    assert comm.pipeline_bubble(4, 8) == 3 / 11
    assert comm.pipeline_bubble(1, 8) == 0
