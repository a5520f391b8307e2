import itertools

import numpy as np
import pytest

from rooflinesim.specs.routing import Routing
from rooflinesim.workload import experts
from rooflinesim.workload.step import Step


def test_two_tokens_of_eight_experts_wake_three_and_a_half():
    assert experts.distinct_experts(8, 2, 0) == 0
    assert experts.distinct_experts(8, 2, 1) == 2
    assert experts.distinct_experts(8, 2, 2) == 3.5  # 8 (1 - 0.75^2)
    assert experts.distinct_experts(8, 8, 1) == 8
    np.testing.assert_array_equal(experts.distinct_experts(8, 2, np.array([1.0, 2.0])), [2.0, 3.5])


def test_distinct_experts_agree_with_all_choices_written_out():
    pairs = list(itertools.combinations(range(4), 2))
    mean = sum(len(set(one) | set(other)) for one in pairs for other in pairs) / len(pairs) ** 2
    assert experts.distinct_experts(4, 2, 2) == pytest.approx(mean, rel=1e-12)


def test_an_awake_expert_serves_its_share_of_the_tokens():
    assert experts.tokens_per_expert(8, 2, 1) == 1
    assert experts.tokens_per_expert(8, 2, 2) == pytest.approx(4 / 3.5)


def test_deepseek_v3_wakes_95_percent_of_its_experts_at_94_tokens():
    tokens = experts.saturating_tokens(256, 8, 0.95)
    assert tokens == pytest.approx(94.4, abs=0.05)
    assert experts.distinct_experts(256, 8, tokens) == pytest.approx(0.95 * 256)


@pytest.mark.parametrize(
    ("count", "active", "exponent", "shares"),
    [
        (4, 1, 1.0, [0.48, 0.24, 0.16, 0.12]),  # 1, 1/2, 1/3, 1/4 over their sum 25/12
        (3, 2, 2.0, [1.0, 9 / 13, 4 / 13]),  # the first is always chosen; the rest share 1 as 1/4 : 1/9
        (3, 3, 1.0, [1.0, 1.0, 1.0]),
        (4, 2, 0.0, [0.5, 0.5, 0.5, 0.5]),
    ],
)
def test_zipf_shares_sum_to_the_experts_of_a_token(count, active, exponent, shares):
    found = experts.zipf_inclusion(count, active, exponent)
    np.testing.assert_allclose(found, shares, rtol=1e-12)
    assert found.sum() == pytest.approx(active, rel=1e-12)


def test_distinct_skewed_experts_sum_over_experts():
    # One is always awake, and each of the others with 1 - 0.25.
    assert experts.distinct_skewed_experts(np.array([1.0, 0.5, 0.5]), 2.0) == 2.5
    np.testing.assert_array_equal(
        experts.distinct_skewed_experts(np.array([1.0, 0.5, 0.5]), np.array([0.0, 1.0, 2.0])), [0.0, 2.0, 2.5]
    )


def test_neighbouring_tokens_that_choose_alike_count_less():
    step = Step(batch=4.0, new_tokens=3.0)
    assert experts.independent_tokens(step, Routing()) == 12
    assert experts.independent_tokens(step, Routing(overlap=0.5)) == 8
    assert experts.independent_tokens(step, Routing(overlap=1.0)) == 4


def test_awake_experts_follow_the_routing():
    step = Step(batch=2.0)
    assert experts.awake_experts(8, 2, step, Routing()) == 3.5
    # Shares of four experts by Zipf: 1 - 0.52^2 + 1 - 0.76^2 + 1 - 0.84^2 + 1 - 0.88^2
    assert experts.awake_experts(4, 1, step, Routing(zipf_exponent=1.0)) == pytest.approx(1.672)
