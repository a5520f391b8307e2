"""Acceptance by every meaning of the word, and what follows from it at any draft length."""

import dataclasses
import math
from typing import Literal, get_args

import numpy as np

from rooflinesim.analysis.speculation import tokens as formulas
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity
from rooflinesim.workload.step import Array

AcceptanceKind = Literal["conditional", "drafted", "length", "length-with-bonus", "curve"]
"""What a number of acceptance means.

`conditional`: probability that a draft token is kept, given that all before it were. `drafted`: share of drafted
tokens that are kept, which servers print. `length`: mean of kept draft tokens per round. `length-with-bonus`: mean of
emitted tokens per round. `curve`: probability that each position is kept, one number per position.
"""

KINDS: tuple[AcceptanceKind, ...] = get_args(AcceptanceKind)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Acceptance(Noun):
    """How much of a draft is kept: a kind, and its number for one point or for aligned points.

    `value` goes with all kinds but `curve`, whose numbers are in `curve`, by position. `measured_length` is the
    draft length at which a share or a length was measured; without it the number holds at each draft length asked.
    `decay` multiplies the conditional acceptance from one position to the next (beyond a curve's end too).
    `temperature` names the workload: acceptance was measured at it, and is another at another. Relaxed rules
    (typical acceptance) change what is emitted: `is_exact` is False with them.

    Raises
    ------
    DomainError : if a number has no meaning; the message names it and what to give.
    """

    kind: AcceptanceKind = "conditional"
    value: Array | None = None
    curve: tuple[float, ...] = ()
    measured_length: Array | None = None
    decay: float = quantity("1", default=1.0, maximum=1.0)
    temperature: float | None = quantity("1", default=None)
    is_exact: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DomainError(f"acceptance kind {self.kind!r} is not known: give one of {', '.join(KINDS)}")
        if self.temperature is not None and not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise DomainError(f"acceptance temperature is {self.temperature!r}: give 0 (greedy) or above")
        formulas.checked_share(self.decay, "acceptance decay")
        if self.kind == "curve":
            _check_curve(self.curve)
            return
        if self.value is None:
            raise DomainError(f"acceptance of kind {self.kind} has no value: give a number")
        if self.curve:
            raise DomainError(f"acceptance of kind {self.kind} has a curve: give kind curve, or a value alone")
        value = np.asarray(self.value, dtype=np.float64)
        if self.kind in ("conditional", "drafted"):
            _check_share(value, self.kind)
        else:
            _check_tokens(value, self.kind, 1.0 if self.kind == "length-with-bonus" else 0.0)
        if self.measured_length is not None:
            if np.any(formulas.checked_length(self.measured_length, "measured_length") < 1):
                raise DomainError("measured_length is 0: nothing is accepted where nothing is drafted; give 1 or more")
            acceptance_rate(self, self.measured_length)


def _check_share(value: np.ndarray, kind: str) -> None:
    wrong = ~((value >= 0) & (value <= 1))
    if wrong.any():
        number = value[wrong].flat[0]
        hint = " (for accepted tokens per round give kind length or length-with-bonus)" if number > 1 else ""
        raise DomainError(f"{kind} acceptance is {number:g}: give a number from 0 to 1{hint}")


def _check_tokens(value: np.ndarray, kind: str, least: float) -> None:
    wrong = ~((value >= least) & np.isfinite(value))
    if wrong.any():
        number = value[wrong].flat[0]
        hint = " (without the bonus token the kind is length)" if least and number >= 0 else ""
        raise DomainError(f"accepted {kind} is {number:g}: give at least {least:g}{hint}")


def _check_curve(curve: tuple[float, ...]) -> None:
    if not curve:
        raise DomainError("acceptance curve is empty: give the probability that each position is kept")
    values = formulas.checked_share(np.asarray(curve), "acceptance curve")
    rising = np.flatnonzero(np.diff(values) > 0)
    if rising.size:
        at = int(rising[0]) + 1
        raise DomainError(
            f"acceptance curve rises from {values[at - 1]:g} to {values[at]:g} at position {at + 1}: a position is kept"
            " only with all before it; give probabilities that fall, or multiply conditional ones up"
        )


def acceptance_rate(acceptance: Acceptance, draft_length: Array) -> Array:
    """Conditional acceptance of the first draft token at these draft lengths, decay apart [1].

    A share or length is solved at the draft length it was measured at, else at the one asked; a draft length of 0
    has no tokens to accept and gives 0 there. A curve gives its first position.

    Raises
    ------
    DomainError : if a length exceeds draft length + 1, or no acceptance gives such a share.
    """
    if acceptance.kind == "curve":
        return acceptance.curve[0]
    value = np.asarray(acceptance.value, dtype=np.float64)
    if acceptance.kind == "conditional":
        return value[()]
    asked = draft_length if acceptance.measured_length is None else acceptance.measured_length
    length, value = np.broadcast_arrays(formulas.checked_length(asked), value)
    match acceptance.kind:
        case "drafted":
            emitted = 1.0 + value * length
        case "length":
            emitted = 1.0 + value
        case _:
            emitted = value
    # Draft length 0 is plain decoding, whatever was accepted elsewhere.
    emitted = np.where(length > 0, emitted, 1.0)
    most = np.asarray(formulas.most_tokens(length, acceptance.decay))
    wrong = emitted > most * (1.0 + 1e-12)
    if wrong.any():
        given, limit, at = (float(column[wrong].flat[0]) for column in (value, most, length))
        shown = {"drafted": (limit - 1.0) / max(at, 1.0), "length": limit - 1.0}.get(acceptance.kind, limit)
        remedy = ", or the draft length it was measured at" if acceptance.measured_length is None else ""
        raise DomainError(
            f"{acceptance.kind} acceptance is {given:g} at draft length {at:g}: give at most {shown:g}{remedy}"
        )
    return formulas.rate_of_tokens(np.minimum(emitted, most), length, acceptance.decay)


def survival(acceptance: Acceptance, draft_length: Array) -> np.ndarray:
    """Probability that each position is kept, shape (points, longest draft length); 0 beyond a point's own length [1].

    Beyond a curve's end the last conditional acceptance goes on, multiplied by the decay from there.
    """
    length = np.atleast_1d(formulas.checked_length(draft_length))
    longest = int(np.max(length, initial=0))
    positions = np.arange(1, longest + 1)
    if acceptance.kind == "curve":
        kept = _curve(acceptance, longest)[np.newaxis]
    else:
        rate = np.atleast_1d(acceptance_rate(acceptance, draft_length))[:, np.newaxis]
        kept = np.asarray(formulas.survival(positions, rate, acceptance.decay))
    return np.where(positions <= length[:, np.newaxis], kept, 0.0)


def _curve(acceptance: Acceptance, longest: int) -> np.ndarray:
    """Survival of a curve's positions and of those beyond its end, shape (longest,)."""
    given = np.asarray(acceptance.curve)
    before = given[-2] if given.size > 1 else 1.0
    last = given[-1] / before if before > 0 else 0.0
    beyond = np.arange(1, max(longest - given.size, 0) + 1)
    further = given[-1] * np.asarray(formulas.survival(beyond, last * acceptance.decay, acceptance.decay))
    return np.concatenate([given, further])[:longest]


def tokens_per_round(acceptance: Acceptance, draft_length: Array) -> Array:
    """Mean tokens that a round emits, the corrected or bonus token included [tokens], shape (points,) or a number."""
    length = formulas.checked_length(draft_length)
    if acceptance.kind == "curve":
        sums = np.concatenate([[1.0], 1.0 + np.cumsum(_curve(acceptance, int(np.max(length, initial=0))))])
        return sums[length.astype(np.intp)][()]
    return formulas.expected_tokens(length, acceptance_rate(acceptance, length), acceptance.decay)


def round_variance(acceptance: Acceptance, draft_length: Array) -> Array:
    """Variance of the tokens of one round (3.4) [tokens^2], shape (points,) or a number."""
    variance = np.asarray(formulas.survival_variance(survival(acceptance, draft_length)))
    return variance if np.ndim(draft_length) or variance.size > 1 else variance[0]


def full_acceptance(acceptance: Acceptance, draft_length: Array) -> Array:
    """Probability that the whole draft is kept, S_k: how often one more draft pass fills the draft's cache [1].

    It is 0 for a draft length of 0, which has no draft to keep.
    """
    length = formulas.checked_length(draft_length)
    if acceptance.kind == "curve":
        padded = np.concatenate([[0.0], _curve(acceptance, int(np.max(length, initial=0)))])
        return padded[length.astype(np.intp)][()]
    kept = formulas.survival(length, acceptance_rate(acceptance, length), acceptance.decay)
    return np.where(length > 0, kept, 0.0)[()]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Meanings(Noun):
    """One acceptance by all of its names at given draft lengths, each of shape (points,) or a number.

    `conditional` is the constant acceptance that gives the same mean; `first` that of the first position.
    """

    conditional: Array = quantity("1")
    first: Array = quantity("1")
    drafted: Array = quantity("1")
    length: Array = quantity("tokens")
    length_with_bonus: Array = quantity("tokens")
    possible_share: Array = quantity("1")


def meanings(acceptance: Acceptance, draft_length: Array) -> Meanings:
    """An acceptance converted to every other meaning at these draft lengths."""
    emitted = tokens_per_round(acceptance, draft_length)
    return Meanings(
        conditional=formulas.rate_of_tokens(emitted, draft_length),
        first=acceptance_rate(acceptance, draft_length),
        drafted=formulas.drafted_rate(emitted, draft_length),
        length=emitted - 1.0,
        length_with_bonus=emitted,
        possible_share=formulas.possible_share(emitted, draft_length),
    )
