"""Laws of speculation that hold for all inputs: section 7 of the theory, as far as it is mathematics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooflinesim.analysis.speculation import chains, closed_forms, tokens, trees
from rooflinesim.analysis.speculation.acceptance import Acceptance, meanings, survival, tokens_per_round
from rooflinesim.workload.experts import distinct_experts

rates = st.floats(0.0, 1.0)
lengths = st.integers(1, 24)
decays = st.floats(0.3, 1.0)


@given(rates, decays)
def test_draft_length_0_is_plain_decoding(rate: float, decay: float) -> None:
    assert tokens_per_round(Acceptance(value=rate, decay=decay), 0) == 1.0
    assert closed_forms.constant_cost_speedup(1.0, 0, 0.3) == 1.0


@given(lengths, decays)
def test_no_acceptance_emits_one_token_and_full_acceptance_all(length: int, decay: float) -> None:
    assert tokens.expected_tokens(length, 0.0, decay) == pytest.approx(1.0)
    assert tokens.expected_tokens(length, 1.0) == length + 1
    assert closed_forms.constant_cost_speedup(1.0, length, 0.1) <= 1.0


@given(rates, rates, lengths, decays)
def test_tokens_rise_with_acceptance_and_with_length(rate: float, other: float, length: int, decay: float) -> None:
    low, high = sorted((rate, other))
    assert tokens.expected_tokens(length, low, decay) <= tokens.expected_tokens(length, high, decay) + 1e-12
    emitted = tokens.expected_tokens(np.arange(length + 1), rate, decay)
    assert np.all(np.diff(emitted) >= -1e-12)
    assert np.all(emitted <= np.arange(length + 1) + 1 + 1e-12)


@given(rates, lengths, decays)
def test_every_meaning_turns_back_into_the_same_tokens(rate: float, length: int, decay: float) -> None:
    acceptance = Acceptance(value=rate, decay=decay)
    found = meanings(acceptance, length)
    for kind, value in (
        ("drafted", found.drafted),
        ("length", found.length),
        ("length-with-bonus", found.length_with_bonus),
    ):
        again = Acceptance(kind=kind, value=value, decay=decay)  # type: ignore[arg-type]
        assert tokens_per_round(again, length) == pytest.approx(tokens_per_round(acceptance, length), rel=1e-9)
    curve = Acceptance(kind="curve", curve=tuple(survival(acceptance, [length])[0]))
    assert tokens_per_round(curve, length) == pytest.approx(tokens_per_round(acceptance, length), rel=1e-9)
    assert tokens_per_round(Acceptance(value=found.conditional), length) == pytest.approx(found.length_with_bonus)


@given(st.lists(rates, min_size=1, max_size=8), lengths)
def test_scalars_equal_arrays(many: list[float], length: int) -> None:
    together = tokens_per_round(Acceptance(value=np.array(many)), length)
    assert together == pytest.approx([tokens_per_round(Acceptance(value=one), length) for one in many])
    solved = tokens.rate_of_tokens(together, length)
    assert solved == pytest.approx([tokens.rate_of_tokens(one, length) for one in np.atleast_1d(together)], abs=1e-9)


@given(rates, lengths)
def test_free_memory_leaves_only_wasted_work(rate: float, length: int) -> None:
    """At infinite bandwidth a verification costs a plain step per token: speculation never gains."""
    emitted = tokens.expected_tokens(length, rate)
    limit = closed_forms.large_batch_speedup(
        emitted,
        length,
        token_time=1.0,
        cache_time=0.0,
        context=4096,
        draft_token_time=0.1,
        draft_cache_time=0.0,
        draft_context=4096,
    )
    assert limit == pytest.approx(emitted / (length + 1 + 0.1 * length))
    assert limit <= 1.0


@given(rates, lengths, st.floats(1e-6, 1e-3))
def test_long_contexts_approach_the_bounded_cache_limit_from_below(rate: float, length: int, cache_time: float) -> None:
    emitted = tokens.expected_tokens(length, rate)
    context = 1e9
    found = closed_forms.large_batch_speedup(
        emitted,
        length,
        token_time=1e-3,
        cache_time=cache_time,
        context=context,
        draft_token_time=1e-3,
        draft_cache_time=cache_time,
        draft_context=512,
    )
    bound = closed_forms.bounded_cache_speedup(emitted, length, 512, context)
    assert found <= bound * (1 + 1e-12)
    assert found == pytest.approx(bound, rel=1e-3 * length)


@given(st.floats(0.05, 0.99), lengths)
def test_the_paying_context_is_where_the_limit_is_1(rate: float, length: int) -> None:
    emitted = tokens.expected_tokens(length, rate)
    shared = {
        "token_time": 1.0,
        "cache_time": 1e-3,
        "draft_token_time": 0.1,
        "draft_cache_time": 1e-4,
        "draft_context": 512.0,
    }
    context = closed_forms.paying_context(emitted, length, **shared)
    assert closed_forms.large_batch_speedup(emitted, length, context=context, **shared) == pytest.approx(1.0)


@given(st.integers(1, 64), st.integers(1, 512), st.integers(1, 8), rates)
def test_experts_never_gain_more_than_the_tokens(batch: int, experts: int, active: int, rate: float) -> None:
    active = min(active, experts)
    emitted = tokens.expected_tokens(3, rate)
    found = closed_forms.expert_speedup(
        emitted, 3, batch=batch, experts=experts, active_experts=active, dense_bytes=1.0, expert_bytes=1.0
    )
    assert found <= emitted + 1e-12
    woken = distinct_experts(experts, active, batch)
    assert woken <= min(experts, batch * active) * (1 + 1e-9)
    assert distinct_experts(experts, active, 1) == pytest.approx(active)


def test_gains_of_experts_dip_at_a_few_sequences_and_rise_at_moderate_batches() -> None:
    emitted = tokens.expected_tokens(3, 0.8)
    found = closed_forms.expert_speedup(
        emitted,
        3,
        batch=np.array([1, 2, 4, 8, 16, 32, 64, 128]),
        experts=256,
        active_experts=8,
        dense_bytes=17e9,
        expert_bytes=2.55e9,
    )
    assert [round(float(value), 2) for value in found] == [1.16, 1.03, 1.01, 1.11, 1.40, 1.94, 2.58, 2.90]


@given(rates, st.floats(0.0, 1.0))
def test_the_best_draft_length_gains_at_least_its_lower_bound(rate: float, ratio: float) -> None:
    length = int(chains.best_draft_length(rate, ratio, 60))
    best = closed_forms.constant_cost_speedup(tokens.expected_tokens(length, rate), length, ratio)
    assert best >= 1.0
    if rate > ratio:
        assert best >= closed_forms.least_best_speedup(rate, ratio) * (1 - 1e-9)


@given(st.lists(st.floats(0.0, 0.3), min_size=1, max_size=4), st.integers(1, 40), st.integers(1, 8))
def test_the_best_tree_is_at_least_the_best_chain(ranks: list[float], nodes: int, depth: int) -> None:
    ordered = tuple(sorted(ranks, reverse=True))
    found = trees.tree_tokens(trees.best_tree(ordered, nodes, depth), ordered)
    assert found >= tokens.expected_tokens(min(depth, nodes - 1), ordered[0]) - 1e-12
    assert found <= 1 / (1 - sum(ordered)) + 1e-9 if sum(ordered) < 1 else True


@given(st.floats(0.0, 1.0), st.integers(1, 16))
def test_candidates_in_parallel_are_a_chain_when_there_is_one(rate: float, length: int) -> None:
    one = closed_forms.parallel_candidates_tokens(rate, length, 1)
    assert one == pytest.approx(tokens.expected_tokens(length, rate))
    assert closed_forms.parallel_candidates_tokens(rate, length, 4) >= one - 1e-9
