"""The law of the experts' kernels: what it charges, and what holds for all inputs."""

import dataclasses

import numpy as np
import pytest

from rooflinesim.cost.experts import expert_time, grouping_time, padded_flops
from rooflinesim.errors import RooflinesimError
from rooflinesim.specs.expert_law import ExpertLaw
from rooflinesim.workload.experts import distinct_experts
from rooflinesim.workload.step import Array

LAW = ExpertLaw(
    fixed_time=10e-6,
    depth_time=2e-9,
    memory_efficiency=0.9,
    flop_efficiency=0.5,
    grouping_passes=3.0,
    remote_share=1.0,
)


def product(tokens: Array, ranks: int = 1, law: ExpertLaw = LAW) -> Array:
    """128 experts of 4096 x 3072 in 16 bits, 8 per token, on 3.35 TB/s and 989 TFLOP/s."""
    pairs = 8.0 * tokens
    rows = pairs / ranks
    awake = distinct_experts(128.0, 8.0, tokens) / ranks
    return expert_time(
        rows=rows,
        remote_rows=pairs - rows,
        awake=awake,
        inputs=4096.0,
        outputs=3072.0,
        weight_bytes=awake * 4096.0 * 3072.0 * 2.0,
        activation_bytes=rows * (4096.0 + 3072.0) * 2.0,
        flops=2.0 * rows * 4096.0 * 3072.0,
        bandwidth=3.35e12,
        flop_rate=989e12,
        law=law,
    )


def test_one_token_costs_the_fixed_times_and_its_experts_weights() -> None:
    weights = 8 * 4096 * 3072 * 2 / (0.9 * 3.35e12)
    # Activations, padding and grouping of eight rows add less than 3 % here.
    assert product(1.0) == pytest.approx(10e-6 + 2e-9 * 4096 + weights, rel=0.03)


def test_time_rises_with_tokens() -> None:
    tokens = np.arange(1.0, 8193.0)
    for ranks in (1, 4, 16):
        assert np.all(np.diff(product(tokens, ranks)) >= 0.0)


def test_time_is_at_least_each_roof_and_finite() -> None:
    tokens = 2.0 ** np.arange(0.0, 16.0)
    awake = distinct_experts(128.0, 8.0, tokens)
    bound = dataclasses.replace(LAW, fixed_time=0.0, depth_time=0.0, memory_efficiency=1.0, flop_efficiency=1.0)
    time = np.asarray(product(tokens, law=bound))
    moved = awake * 4096.0 * 3072.0 * 2.0 + 8.0 * tokens * (4096.0 + 3072.0) * 2.0
    assert np.all(np.isfinite(time))
    assert np.all(time >= moved / 3.35e12)
    assert np.all(time >= 2.0 * 8.0 * tokens * 4096.0 * 3072.0 / 989e12)


def test_a_rank_with_less_than_one_awake_expert_still_reads_one() -> None:
    one_expert = 4096 * 3072 * 2 / (0.9 * 3.35e12)
    assert product(1.0, ranks=16) >= 10e-6 + 2e-9 * 4096 + one_expert
    assert product(1.0, ranks=16) == pytest.approx(product(1.0, ranks=8), rel=0.01)


def test_scalar_equals_array() -> None:
    tokens = np.array([1.0, 7.0, 300.0])
    assert np.asarray(product(tokens)) == pytest.approx([product(float(one)) for one in tokens], rel=1e-15)


def test_no_tokens_give_a_finite_time() -> None:
    assert np.isfinite(product(np.array([0.0]))).all()


def test_padding_adds_half_a_tile_per_awake_expert() -> None:
    # 4 experts with 16 rows each, tiles of 64: 64 rows become 64 + 4 * 32.
    assert padded_flops(64.0, 64.0, 4.0, 64.0) == 192.0


def test_rows_of_other_ranks_cost_their_share_of_grouping() -> None:
    # 3 passes of 2 bytes over (10 + 30) rows of 100 features at 1 GB/s.
    assert grouping_time(30.0, 10.0, 100.0, 1e9, LAW) == pytest.approx(3 * 2 * 40 * 100 / 1e9)
    local = dataclasses.replace(LAW, remote_share=0.0)
    assert grouping_time(30.0, 10.0, 100.0, 1e9, local) == pytest.approx(3 * 2 * 10 * 100 / 1e9)


def test_an_efficiency_above_one_is_refused() -> None:
    with pytest.raises(RooflinesimError, match="memory_efficiency"):
        dataclasses.replace(LAW, memory_efficiency=1.6)
