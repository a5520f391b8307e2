"""Tokens of one round of speculation: closed forms over acceptance and draft length, both ways.

A round drafts `draft_length` tokens, keeps those before the first rejection, and emits one more: the correction, or
the bonus token after full acceptance. Numbers in brackets are the `eq` of the oracles that check a formula.
"""

import numpy as np

from rooflinesim.errors import DomainError
from rooflinesim.workload.step import Array

LONGEST_DRAFT = 4096
"""Longest draft that is computed; nothing drafts so far [tokens]."""

_TOLERANCE = 1e-14
_STEPS = 200


def checked_length(draft_length: Array, name: str = "draft_length") -> np.ndarray:
    """Draft lengths as float64.

    Raises
    ------
    DomainError : if one is no whole number from 0 to LONGEST_DRAFT.
    """
    length = np.asarray(draft_length, dtype=np.float64)
    wrong = ~((length >= 0) & (length <= LONGEST_DRAFT) & (length == np.floor(length)))
    if wrong.any():
        raise DomainError(f"{name} is {length[wrong].flat[0]:g}: give a whole number from 0 to {LONGEST_DRAFT}")
    return length


def checked_share(value: Array, name: str) -> np.ndarray:
    """Shares as float64.

    Raises
    ------
    DomainError : if one lies outside [0, 1].
    """
    share = np.asarray(value, dtype=np.float64)
    wrong = ~((share >= 0) & (share <= 1))
    if wrong.any():
        raise DomainError(f"{name} is {share[wrong].flat[0]:g}: give a number from 0 to 1")
    return share


def survival(position: Array, acceptance_rate: Array, decay: Array = 1.0) -> Array:
    r"""Probability that the draft token at a position is kept [1].

    With conditional acceptance :math:`\alpha_j = a\, d^{j-1}` of position j,

    .. math:: S_i = \prod_{j \le i} \alpha_j = a^i d^{\,i(i-1)/2}

    (3.3); derived. Position 0, the token before the draft, is always kept.

    Parameters
    ----------
    position : i. [tokens] >= 0, any shape that broadcasts
    acceptance_rate : a, acceptance of the first draft token. [1] in [0, 1]
    decay : d, by which acceptance changes from one position to the next. [1] in [0, 1]
    """
    i = np.asarray(position, dtype=np.float64)
    kept: Array = np.power(acceptance_rate, i) * np.power(decay, i * (i - 1.0) / 2.0)
    return kept


def expected_tokens(draft_length: Array, acceptance_rate: Array, decay: Array = 1.0) -> Array:
    r"""Tokens emitted per round, the corrected or bonus token included [tokens].

    With each draft token accepted independently with probability :math:`a`,

    .. math:: \omega = \sum_{i=0}^{k} a^i = \frac{1 - a^{k+1}}{1 - a}

    and :math:`k + 1` at :math:`a = 1` (3.1); with decay the sum of :func:`survival` (3.3). It is a mean over
    rounds of equal acceptance: for sequences that differ, average the result, not the acceptance.

    Parameters
    ----------
    draft_length : k, tokens proposed per round. [tokens] whole, >= 0
    acceptance_rate : a, probability that the first draft token is kept. [1] in [0, 1]
    decay : factor on the acceptance from one position to the next. [1] in [0, 1]

    Raises
    ------
    DomainError : if a number lies outside its range.

    References
    ----------
    .. [1] Leviathan, Kalman, Matias. Fast inference from transformers via speculative decoding. 2023, eq. 1.
    """
    length = checked_length(draft_length)
    rate = checked_share(acceptance_rate, "acceptance_rate")
    fall = checked_share(decay, "decay")
    if np.all(fall == 1.0):
        # In the rejection probability, so that nothing cancels near full acceptance.
        rejection = 1.0 - rate
        some = np.where((rejection > 0) & (rejection < 1), rejection, 0.5)
        mean = -np.expm1((length + 1.0) * np.log1p(-some)) / some
        return np.where(rejection == 0, length + 1.0, np.where(rejection == 1, 1.0, mean))[()]
    return _summed(length, rate, fall)[0][()]


def _summed(length: np.ndarray, rate: np.ndarray, decay: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected tokens, and the sum of position times survival; one pass over positions for all points."""
    length, rate, decay = np.broadcast_arrays(length, rate, decay)
    kept, conditional = np.ones(length.shape), np.array(rate)
    total, moment = np.ones(length.shape), np.zeros(length.shape)
    for position in range(1, int(np.max(length, initial=0)) + 1):
        kept = np.where(position <= length, kept * conditional, 0.0)
        total += kept
        moment += position * kept
        conditional = conditional * decay
    return total, moment


def most_tokens(draft_length: Array, decay: Array = 1.0) -> Array:
    """Tokens of a round whose first draft token is always kept: draft length + 1 where nothing decays [tokens]."""
    return expected_tokens(draft_length, np.ones(()), decay)


def rate_of_tokens(tokens: Array, draft_length: Array, decay: Array = 1.0) -> Array:
    r"""Acceptance of the first draft token at which a round emits so many tokens: (3.1) or (3.3) solved (3.7) [1].

    Newton's method from full acceptance: the sum is convex and rising in :math:`a`, so that it comes down to the
    root from above, for all points at once. A draft length of 0 emits one token at any acceptance; 0 is returned.

    Parameters
    ----------
    tokens : mean tokens per round with the bonus token. [tokens] from 1 to the most that the draft length allows
    draft_length : k. [tokens] whole, >= 0
    decay : factor on the acceptance from one position to the next. [1] in [0, 1]

    Raises
    ------
    DomainError : if no acceptance gives so many tokens.
    """
    length, mean, fall = np.broadcast_arrays(
        checked_length(draft_length), np.asarray(tokens, dtype=np.float64), checked_share(decay, "decay")
    )
    most = np.asarray(most_tokens(length, fall))
    wrong = ~((mean >= 1.0 - 1e-12) & (mean <= most * (1.0 + 1e-12)))
    if wrong.any():
        worst = np.flatnonzero(wrong.ravel())[0]
        given, limit, at = (float(column.ravel()[worst]) for column in (mean, most, length))
        raise DomainError(
            f"accepted length with the bonus token is {given:g} at draft length {at:g}: give 1 to {limit:g}, or the"
            " draft length it was measured at"
        )
    rate = np.where(length > 0, 1.0, 0.0)
    for _ in range(_STEPS):
        total, moment = _summed(length, rate, fall)
        excess = np.where(length > 0, total - mean, 0.0)
        # d omega / d a = sum of i S_i / a.
        step = np.where(moment > 0, excess * rate / np.where(moment > 0, moment, 1.0), 0.0)
        following = np.clip(rate - step, 0.0, 1.0)
        if np.all(np.abs(following - rate) <= _TOLERANCE):
            break
        rate = following
    # The last Newton step divides by a vanishing slope where no token is ever kept.
    return np.where(mean <= 1.0, 0.0, rate)[()]


def drafted_rate(tokens: Array, draft_length: Array) -> Array:
    """Share of drafted tokens that are kept, (omega - 1) / draft length (3.6): what servers print as acceptance [1].

    It is null where nothing is drafted: draft length 0 gives 0.
    """
    length = checked_length(draft_length)
    return np.where(length > 0, (np.asarray(tokens) - 1.0) / np.where(length > 0, length, 1.0), 0.0)[()]


def possible_share(tokens: Array, draft_length: Array) -> Array:
    """Tokens of a round as a share of the most possible, omega / (draft length + 1) (3.5) [1].

    References
    ----------
    .. [1] MoESD. 2025, arXiv 2505.19645, section 3.1.
    """
    share: Array = np.asarray(tokens) / (checked_length(draft_length) + 1.0)
    return share


def survival_of_conditional(conditional: Array) -> np.ndarray:
    """Probability that each position is kept, from the acceptance of each given the one before, shape (..., k) [1].

    Raises
    ------
    DomainError : if an acceptance lies outside [0, 1].
    """
    return np.cumprod(checked_share(conditional, "acceptance"), axis=-1)


def survival_tokens(kept: Array) -> Array:
    """Tokens of a round whose positions survive with these probabilities, 1 + sum S_i (3.3), over the last axis."""
    total: Array = 1.0 + np.sum(np.asarray(kept, dtype=np.float64), axis=-1)
    return total


def survival_variance(kept: Array) -> Array:
    r"""Variance of the tokens of one round (3.4), over the last axis [tokens^2].

    .. math:: \mathrm{Var} = \sum_i (2i - 1) S_i - \Big(\sum_i S_i\Big)^2
    """
    probability = np.asarray(kept, dtype=np.float64)
    weights = 2.0 * np.arange(1, probability.shape[-1] + 1) - 1.0
    variance: Array = np.sum(weights * probability, axis=-1) - np.sum(probability, axis=-1) ** 2
    return variance


def accepted_distribution(kept: Array) -> np.ndarray:
    """Probability that exactly 0, 1, ..., k draft tokens are kept, S_x - S_{x+1} (3.4), shape (..., k + 1) [1]."""
    probability = np.asarray(kept, dtype=np.float64)
    edge = (*probability.shape[:-1], 1)
    return -np.diff(np.concatenate([np.ones(edge), probability, np.zeros(edge)], axis=-1), axis=-1)


def token_acceptance(target: Array, draft: Array) -> Array:
    r"""Probability that a token drawn from the draft's distribution is kept (3.8), over the last axis [1].

    .. math:: \alpha = \sum_v \min(p_v, q_v) = 1 - TV(p, q)

    Both after the request's temperature, top-k and top-p. A greedy target is a distribution with a single 1.

    Raises
    ------
    DomainError : if a distribution has a negative probability, or does not sum to 1.

    References
    ----------
    .. [1] Leviathan, Kalman, Matias. 2023, theorem 3.5 and corollary 3.6.
    """
    p, q = np.asarray(target, dtype=np.float64), np.asarray(draft, dtype=np.float64)
    for name, distribution in (("target", p), ("draft", q)):
        sums = distribution.sum(axis=-1)
        if np.any(distribution < 0) or not np.allclose(sums, 1.0, rtol=0.0, atol=1e-6):
            raise DomainError(f"{name} distribution sums to {np.ravel(sums)[0]:g}: give probabilities that sum to 1")
    overlap: Array = np.minimum(p, q).sum(axis=-1)
    return overlap


def rank_probabilities(acceptance_rate: Array, ranks: int, share_of_rest: float = 0.3) -> np.ndarray:
    """Probability that the candidate of each rank is the right one, shape (..., ranks) [1].

    The first is accepted with the acceptance rate, each further one with a share of what those before it leave.
    An assumption, for trees of which only the acceptance of the best candidate is known; measured rank
    probabilities are better.
    """
    first = checked_share(acceptance_rate, "acceptance_rate")[..., np.newaxis]
    further = np.arange(ranks - 1)
    rest = (1.0 - first) * checked_share(share_of_rest, "share_of_rest") * (1.0 - share_of_rest) ** further
    return np.concatenate([first, rest], axis=-1)
