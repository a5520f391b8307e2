"""Rounds drawn at random meet every closed form within 4.5 standard errors."""

import dataclasses

import numpy as np
import pytest

from rooflinesim.analysis.speculation import closed_forms, simulation, tokens, trees
from rooflinesim.analysis.speculation.acceptance import Acceptance, round_variance, survival, tokens_per_round
from rooflinesim.analysis.speculation.agreement import simulated_rounds
from rooflinesim.analysis.speculation.simulation import estimate
from rooflinesim.errors import DomainError

CURVES = [
    Acceptance(value=0.8),
    Acceptance(value=0.3),
    Acceptance(value=0.9, decay=0.85),
    Acceptance(kind="curve", curve=(0.9, 0.7, 0.5, 0.45)),
]


@pytest.mark.parametrize("acceptance", CURVES)
@pytest.mark.parametrize("draft_length", [1, 4, 9])
def test_tokens_per_round_and_their_variance(acceptance: Acceptance, draft_length: int) -> None:
    drawn = simulation.drawn_tokens(survival(acceptance, [draft_length]), 200_000, np.random.default_rng(7))
    mean = float(tokens_per_round(acceptance, draft_length))
    assert estimate(drawn).agrees(mean)
    assert estimate((drawn - mean) ** 2).agrees(float(round_variance(acceptance, draft_length)))


def test_a_simulation_that_is_off_does_not_agree() -> None:
    drawn = simulation.drawn_tokens(survival(Acceptance(value=0.8), [5]), 200_000, np.random.default_rng(7))
    assert not estimate(drawn).agrees(1.01 * 3.68928)


def test_the_distribution_of_kept_tokens() -> None:
    kept = survival(Acceptance(value=0.7), [4])
    drawn = simulation.drawn_tokens(kept, 200_000, np.random.default_rng(3))
    for count, chance in enumerate(tokens.accepted_distribution(kept)[0]):
        assert estimate((drawn == count + 1).astype(float)).agrees(float(chance))


@pytest.mark.parametrize(
    "tree", [trees.best_tree((0.62, 0.14, 0.07, 0.04), 32), trees.full_tree([3, 2]), trees.chain(5)]
)
def test_walks_down_a_tree(tree: trees.Tree) -> None:
    ranks = np.array([0.62, 0.14, 0.07, 0.04])
    drawn = simulation.drawn_tree_tokens(tree, ranks, 200_000, np.random.default_rng(5))
    mean = float(trees.tree_tokens(tree, ranks))
    assert estimate(drawn).agrees(mean)
    variance = float(tokens.survival_variance(trees.tree_survival(tree, ranks)))
    assert estimate((drawn - mean) ** 2).agrees(variance)


def test_what_is_emitted_is_distributed_as_the_target() -> None:
    target, draft = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.2, 0.5, 0.1, 0.2])
    emitted, is_kept = simulation.drawn_verdicts(target, draft, 400_000, np.random.default_rng(11))
    assert estimate(is_kept.astype(float)).agrees(float(tokens.token_acceptance(target, draft)))
    for token, chance in enumerate(target):
        assert estimate((emitted == token).astype(float)).agrees(float(chance))


@pytest.mark.parametrize(("alphas", "output"), [([0.8] * 5, 200), ([0.8, 0.7, 0.6], 100)])
def test_rounds_until_a_sequence_is_done(alphas: list[float], output: int) -> None:
    kept = tokens.survival_of_conditional(np.array([alphas]))
    rounds = simulation.static_batch(kept, output, trials=40_000, seed=2)[:, 0]
    assert estimate(rounds).agrees(float(closed_forms.rounds_to_finish(kept[0], output)))
    mean, deviation = closed_forms.completion_time(kept[0], output, 1.0)
    # The deviation is the limit of many rounds: 3 % off at 50 rounds.
    assert float(np.std(rounds)) == pytest.approx(float(deviation), rel=0.03)
    assert float(np.mean(rounds)) == pytest.approx(float(mean), rel=0.02)


def test_a_measured_mean_lies_within_its_half_width_95_times_in_100() -> None:
    kept = survival(Acceptance(value=0.8), [5])
    drawn = simulation.drawn_tokens(np.repeat(kept, 4000, axis=0), 100, np.random.default_rng(13))
    width = closed_forms.relative_half_width(kept[0], 100)
    inside = np.abs(drawn.mean(axis=0) / 3.68928 - 1.0) <= width
    assert inside.mean() == pytest.approx(0.95, abs=0.015)


def test_a_static_batch_waits_for_its_slowest_sequence() -> None:
    kept = np.repeat(survival(Acceptance(value=0.8), [5]), 16, axis=0)
    rounds = simulation.static_batch(kept, 200, trials=2_000, seed=4)
    slowest = estimate(rounds.max(axis=1))
    assert slowest.mean > float(closed_forms.rounds_to_finish(kept[0], 200)) * 1.05
    assert slowest.p5 < slowest.p50 < slowest.p95


def test_sequences_that_differ_average_their_tokens_not_their_acceptance() -> None:
    rates = np.array([0.4, 0.9])
    kept = np.asarray(tokens.survival(np.arange(1, 6), rates[:, np.newaxis]))
    drawn = simulation.drawn_tokens(kept, 200_000, np.random.default_rng(17))
    mean = float(np.mean(tokens.expected_tokens(5, rates)))
    assert estimate(drawn.mean(axis=1)).agrees(mean)
    assert mean > float(tokens.expected_tokens(5, 0.65)) * 1.05


def test_a_continuous_batch_emits_what_a_round_emits() -> None:
    kept = survival(Acceptance(value=0.8), [5])
    run = simulation.continuous_batch(kept, 200, slots=2_000, rounds=1_000, seed=6)
    # What the last round of a request emits beyond its end is dropped: one request per mean rounds (3.17) is left.
    expected = 200 / float(closed_forms.rounds_to_finish(kept[0], 200))
    assert run.tokens_per_round == pytest.approx(expected, abs=4.5 * run.standard_error + 1e-4 * expected)
    assert estimate(run.rounds).mean == pytest.approx(float(closed_forms.rounds_to_finish(kept[0], 200)), rel=0.01)


def test_slots_of_a_continuous_batch_see_more_of_the_slow_requests() -> None:
    rates = np.array([0.4, 0.9])
    kept = np.asarray(tokens.survival(np.arange(1, 6), rates[:, np.newaxis]))
    run = simulation.continuous_batch(kept, 400, slots=2_000, rounds=3_000, seed=8)
    harmonic = 400 / float(np.mean([closed_forms.rounds_to_finish(one, 400) for one in kept]))
    assert run.tokens_per_round == pytest.approx(harmonic, rel=0.01)
    assert run.tokens_per_round < float(np.mean(tokens.expected_tokens(5, rates))) * 0.95


def test_a_seed_repeats_a_run() -> None:
    kept = survival(Acceptance(value=0.6), [3])
    assert np.array_equal(simulation.static_batch(kept, 50, 10, 1), simulation.static_batch(kept, 50, 10, 1))
    assert not np.array_equal(simulation.static_batch(kept, 50, 10, 1), simulation.static_batch(kept, 50, 10, 2))


def test_simulations_that_take_too_long_are_refused() -> None:
    with pytest.raises(DomainError, match="simulation of 100,000,000 rounds: give at most 50,000,000"):
        simulation.drawn_tokens(np.full((10, 1), 0.5), 10_000_000, np.random.default_rng(0))


@pytest.mark.parametrize("batch", [1, 16, 300])
def test_agreement_is_shown_beside_every_closed_form(batch: int) -> None:
    found = simulated_rounds(survival(Acceptance(value=0.8), [5])[0], batch=batch)
    assert found.agrees
    assert found.expected_tokens == pytest.approx(3.68928)
    assert found.rounds.p5 < found.expected_rounds < found.rounds.p95
    # The slowest of a batch that starts together needs more, the more so the larger the batch.
    assert (found.slowest_rounds.mean > 1.05 * found.expected_rounds) == (batch > 1)
    assert not dataclasses.replace(found, expected_tokens=3.6).agrees


def test_nothing_drafted_takes_one_round_per_token() -> None:
    found = simulated_rounds(survival(Acceptance(value=0.8), [0])[0], batch=4, output_tokens=20)
    assert found.agrees
    assert (found.tokens.mean, found.rounds.p95, found.slowest_rounds.mean) == (1.0, 20.0, 20.0)
