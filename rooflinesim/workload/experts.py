"""How many experts a batch wakes: the weights that a mixture-of-experts layer streams."""

import functools
import math

import numpy as np

from rooflinesim.errors import DomainError
from rooflinesim.specs.routing import Routing
from rooflinesim.workload.step import Array, Step


def distinct_experts(experts: Array, active_experts: Array, tokens: Array) -> Array:
    r"""Expected number of different experts that some token chose, uniform independent routing [experts].

    .. math:: A(n) = E \left(1 - (1 - k/E)^n\right)

    Parameters
    ----------
    experts : E, routed experts. [1]
    active_experts : k, experts per token. [1] in [1, E]
    tokens : n, independent tokens. [tokens] >= 0, scalar or shape (points,)

    References
    ----------
    .. [1] MoESD. arXiv 2505.19645, algorithm 1 and eq. 8.
    """
    return experts * (1.0 - (1.0 - active_experts / experts) ** tokens)


def tokens_per_expert(experts: Array, active_experts: Array, tokens: Array) -> Array:
    r"""Mean tokens of one awake expert, :math:`n k / A(n)` [tokens].

    References
    ----------
    .. [1] MoESD. arXiv 2505.19645, algorithm 1 and eq. 10.
    """
    return tokens * active_experts / distinct_experts(experts, active_experts, tokens)


def saturating_tokens(experts: int, active_experts: int, share: float) -> float:
    r"""Tokens that wake a share of the experts, uniform routing [tokens].

    .. math:: n = \ln(1 - \tau) / \ln(1 - k/E)

    The inverse of `distinct_experts`.
    """
    return math.log1p(-share) / math.log1p(-active_experts / experts)


@functools.cache
def zipf_inclusion(experts: int, active_experts: int, exponent: float) -> np.ndarray:
    r"""Probability that a token chooses each expert, the most popular first; shape (experts,) [1].

    .. math:: p_e = \min(1, c\, e^{-z}), \qquad \sum_e p_e = k

    with c found by bisection.
    """
    weights = np.arange(1, experts + 1, dtype=np.float64) ** -exponent
    low, high = 0.0, float(active_experts / weights[-1]) + 1.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if np.minimum(1.0, middle * weights).sum() < active_experts else (low, middle)
    inclusion: np.ndarray = np.minimum(1.0, high * weights)
    inclusion.setflags(write=False)
    return inclusion


def distinct_skewed_experts(inclusion: np.ndarray, tokens: Array) -> Array:
    r"""Expected different experts for given inclusion probabilities [experts].

    .. math:: A(n) = \sum_e 1 - (1 - p_e)^n

    Parameters
    ----------
    inclusion : p, probability that a token chooses each expert. [1] shape (experts,), sum k
    tokens : n, independent tokens. [tokens] scalar or shape (points,)
    """
    counts, place = np.unique(np.asarray(tokens, dtype=np.float64), return_inverse=True)
    certain = inclusion >= 1.0
    asleep = np.exp(np.outer(counts, np.log1p(-inclusion[~certain])))
    awake = (np.sum(certain) * (counts > 0) + np.sum(1.0 - asleep, axis=1))[place]
    return float(awake) if np.ndim(tokens) == 0 else awake.reshape(np.shape(tokens))


def independent_tokens(step: Step, routing: Routing) -> Array:
    r"""Tokens of a step that choose experts independently [tokens].

    .. math:: b^{1 - c} (1 + (1 - r)(q - 1))

    That neighbouring tokens of one sequence choose alike is reported; the overlap r must be measured. Sequences of a
    batch do too: the more there are, the less a further one adds. Their correlation c is fitted to growth with
    batch, of which the power describes batch 2 and batch 32 at once. Below one sequence tokens count as they are.
    """
    return independent_sequences(step.batch, 1.0 - routing.correlation) * (
        1.0 + (1.0 - routing.overlap) * (step.new_tokens - 1.0)
    )


def independent_sequences(batch: Array, independence: Array) -> Array:
    """Sequences that choose experts as independently as a batch does, a power of it from one sequence on [1]."""
    return np.where(np.asarray(batch) > 1.0, np.maximum(batch, 1.0) ** independence, batch)


def awake_experts(experts: int, active_experts: int, step: Step, routing: Routing) -> Array:
    """Expected different experts that a step's tokens choose [experts]."""
    tokens = independent_tokens(step, routing)
    if routing.frequencies:
        return distinct_skewed_experts(_given_inclusion(experts, active_experts, routing), tokens)
    if routing.zipf_exponent == 0.0:
        return distinct_experts(experts, active_experts, tokens)
    return distinct_skewed_experts(zipf_inclusion(experts, active_experts, routing.zipf_exponent), tokens)


def _given_inclusion(experts: int, active_experts: int, routing: Routing) -> np.ndarray:
    """Expert frequencies that a user gave, held to the layer they are used for."""
    inclusion = np.asarray(routing.frequencies)
    if inclusion.size != experts or abs(inclusion.sum() - active_experts) > 1e-3 * active_experts:
        raise DomainError(
            f"routing: {inclusion.size} expert frequencies that sum to {inclusion.sum():g}, but a layer has {experts}"
            f" experts and each token takes {active_experts}; give one per expert, summing to {active_experts}"
        )
    return inclusion


def distinct_ranks(experts: int, active_experts: int, ranks: int) -> float:
    r"""Expected devices that one token is sent to when experts are dealt evenly over ranks [1].

    .. math:: R \left(1 - \binom{E - E/R}{k} / \binom{E}{k}\right)
    """
    rest = experts - experts // ranks
    return ranks * (1.0 - math.comb(rest, active_experts) / math.comb(experts, active_experts))
