"""Acceptance: every meaning says the same, and what has no meaning is refused with its place, value and remedy."""

import numpy as np
import pytest

from rooflinesim.analysis.speculation import tokens as formulas
from rooflinesim.analysis.speculation.acceptance import (
    Acceptance,
    acceptance_rate,
    full_acceptance,
    meanings,
    round_variance,
    survival,
    tokens_per_round,
)
from rooflinesim.errors import DomainError


def test_one_acceptance_by_all_its_names() -> None:
    found = meanings(Acceptance(value=0.8), 5)
    assert found.length_with_bonus == pytest.approx(3.68928)
    assert found.length == pytest.approx(2.68928)
    assert found.drafted == pytest.approx(0.537856)
    assert found.conditional == pytest.approx(0.8)
    assert found.possible_share == pytest.approx(3.68928 / 6)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("conditional", 0.8), ("drafted", 0.537856), ("length", 2.68928), ("length-with-bonus", 3.68928)],
)
def test_every_kind_gives_the_same_tokens(kind: str, value: float) -> None:
    given = Acceptance(kind=kind, value=value, measured_length=5)
    assert acceptance_rate(given, 5) == pytest.approx(0.8)
    assert tokens_per_round(given, [0, 1, 5, 9]) == pytest.approx([1.0, 1.8, 3.68928, (1 - 0.8**10) / 0.2])


def test_a_length_without_a_measured_draft_length_holds_at_each() -> None:
    given = Acceptance(kind="length-with-bonus", value=1.9)
    assert tokens_per_round(given, [0, 1, 4]) == pytest.approx([1.0, 1.9, 1.9])


def test_tokens_solve_back_to_acceptance_with_and_without_decay() -> None:
    rate = np.linspace(0.0, 1.0, 101)
    length = np.arange(1, 17)[:, np.newaxis]
    for decay in (1.0, 0.9, 0.5):
        emitted = formulas.expected_tokens(length, rate, decay)
        assert formulas.rate_of_tokens(emitted, length, decay) == pytest.approx(np.broadcast_to(rate, (16, 101)))


def test_expected_tokens_lose_no_digits_near_full_acceptance() -> None:
    assert formulas.expected_tokens(5, 1.0 - 1e-13) == pytest.approx(6.0 - 15e-13, rel=1e-15)


def test_decaying_positions() -> None:
    given = Acceptance(value=0.8, decay=0.9)
    assert survival(given, [3])[0] == pytest.approx([0.8, 0.8 * 0.72, 0.8 * 0.72 * 0.648])
    assert tokens_per_round(given, 3) == pytest.approx(1 + 0.8 + 0.576 + 0.373248)


def test_a_curve_goes_on_beyond_its_end_with_its_last_conditional_acceptance() -> None:
    given = Acceptance(kind="curve", curve=(0.9, 0.7, 0.5))
    assert survival(given, [5])[0] == pytest.approx([0.9, 0.7, 0.5, 0.5 * 5 / 7, 0.5 * 25 / 49])
    assert tokens_per_round(given, [0, 2]) == pytest.approx([1.0, 2.6])
    assert full_acceptance(given, [0, 3]) == pytest.approx([0.0, 0.5])


def test_full_acceptance_is_the_last_positions_survival() -> None:
    assert full_acceptance(Acceptance(value=0.8), [0, 3]) == pytest.approx([0.0, 0.512])


def test_variance_is_that_of_the_distribution() -> None:
    given = Acceptance(value=0.7, decay=0.8)
    chances = formulas.accepted_distribution(survival(given, [6]))[0]
    kept = np.arange(7)
    mean = np.sum(chances * kept)
    assert chances.sum() == pytest.approx(1.0)
    assert round_variance(given, 6) == pytest.approx(np.sum(chances * kept**2) - mean**2)
    assert tokens_per_round(given, 6) == pytest.approx(1.0 + mean)


def test_a_token_is_kept_as_often_as_the_distributions_overlap() -> None:
    assert formulas.token_acceptance([0.5, 0.3, 0.2], [0.2, 0.5, 0.3]) == pytest.approx(0.7)
    with pytest.raises(DomainError, match=r"draft distribution sums to 0\.9"):
        formulas.token_acceptance([0.5, 0.5], [0.5, 0.4])


def test_rank_probabilities_leave_something_over() -> None:
    ranks = formulas.rank_probabilities(np.array([0.62, 1.0]), 4)
    assert ranks[0] == pytest.approx([0.62, 0.114, 0.0798, 0.05586])
    assert ranks[1] == pytest.approx([1.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"value": 1.2}, "conditional acceptance is 1.2: give a number from 0 to 1"),
        ({"value": float("nan")}, "conditional acceptance is nan: give"),
        ({"kind": "drafted", "value": -0.1}, "drafted acceptance is -0.1: give a number from 0 to 1"),
        ({"kind": "length", "value": 5.5, "measured_length": 5}, "length acceptance is 5.5 at draft length 5: give at"),
        ({"kind": "length-with-bonus", "value": 0.5}, "accepted length-with-bonus is 0.5: give at least 1"),
        ({"kind": "length", "value": 2, "measured_length": 0}, "measured_length is 0: .* give 1 or more"),
        ({"kind": "curve", "curve": (0.5, 0.6)}, "acceptance curve rises from 0.5 to 0.6 at position 2: .* give"),
        ({"kind": "curve"}, "acceptance curve is empty: give"),
        ({"kind": "rate", "value": 0.5}, "acceptance kind 'rate' is not known: give one of conditional, "),
        ({"kind": "length"}, "acceptance of kind length has no value: give a number"),
        ({"value": 0.5, "decay": 1.1}, "acceptance decay is 1.1: give a number from 0 to 1"),
        ({"value": 0.5, "temperature": -1.0}, "acceptance temperature is -1.0: give 0"),
    ],
)
def test_what_has_no_meaning_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        Acceptance(**arguments)  # type: ignore[arg-type]


def test_a_length_beyond_what_a_draft_allows_is_refused_when_asked() -> None:
    with pytest.raises(
        DomainError, match="is 4 at draft length 2: give at most 3, or the draft length it was measured"
    ):
        tokens_per_round(Acceptance(kind="length-with-bonus", value=4), [0, 2])


def test_a_draft_length_must_be_whole() -> None:
    with pytest.raises(DomainError, match=r"draft_length is 2\.5: give a whole number"):
        tokens_per_round(Acceptance(value=0.5), 2.5)
