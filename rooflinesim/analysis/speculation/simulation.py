"""Rounds of speculation drawn at random, with a seed: a check of every closed form, and quantiles that none gives."""

import dataclasses

import numpy as np

from rooflinesim.analysis.speculation.trees import Tree, checked_ranks, node_ranks
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity

MOST_DRAWS = 50_000_000
"""Most rounds that one simulation draws: more take minutes and say no more."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Estimate(Noun):
    """A simulated mean, its standard error, and the 5, 50 and 95 % points of single draws."""

    mean: float
    standard_error: float
    p5: float
    p50: float
    p95: float

    def agrees(self, expected: float, errors: float = 4.5) -> bool:
        """Whether a closed form lies within so many standard errors."""
        return abs(self.mean - expected) <= errors * self.standard_error + 1e-12 * abs(expected)


def estimate(draws: np.ndarray) -> Estimate:
    """Mean of independent draws and its standard error."""
    low, middle, high = np.quantile(draws, (0.05, 0.5, 0.95))
    error = np.std(draws, ddof=1) / np.sqrt(draws.size) if draws.size > 1 else np.inf
    return Estimate(
        mean=float(np.mean(draws)), standard_error=float(error), p5=float(low), p50=float(middle), p95=float(high)
    )


def _checked(*counts: int) -> None:
    if min(counts) < 1:
        raise DomainError(f"simulation of {min(counts)} draws: give at least 1 of each count")
    total = int(np.prod([float(count) for count in counts]))
    if total > MOST_DRAWS:
        raise DomainError(f"simulation of {total:,} rounds: give at most {MOST_DRAWS:,}")


def drawn_tokens(kept: np.ndarray, rounds: int, generator: np.random.Generator) -> np.ndarray:
    """Tokens that each round of each sequence emits, shape (rounds, sequences) [tokens].

    Parameters
    ----------
    kept : probability that each position is kept, shape (sequences, k): sequences may differ. [1]
    """
    _checked(rounds, kept.shape[0])
    chance = generator.random((rounds, kept.shape[0]))
    tokens = np.ones(chance.shape, dtype=np.int64)
    for position in range(kept.shape[1]):
        tokens += chance < kept[:, position]
    return tokens


def drawn_tree_tokens(tree: Tree, probabilities: np.ndarray, rounds: int, generator: np.random.Generator) -> np.ndarray:
    """Tokens of rounds that walk down a tree until no child is the right one, shape (rounds,) [tokens].

    Parameters
    ----------
    probabilities : that the child of each rank is right, best first, shape (ranks,). [1]
    """
    _checked(rounds, tree.depth + 1)
    edges = np.cumsum(checked_ranks(probabilities))
    # One column more than ranks, for "none of them"; the last row, of nodes that are not there, leads to itself.
    child = np.full((tree.nodes + 1, edges.size + 1), tree.nodes)
    for node, (parent, rank) in enumerate(zip(tree.parents, node_ranks(tree)[1:], strict=True), start=1):
        if rank < edges.size:
            child[parent, rank] = node
    at = np.zeros(rounds, dtype=np.int64)
    tokens = np.ones(rounds, dtype=np.int64)
    for _ in range(tree.depth):
        at = child[at, np.searchsorted(edges, generator.random(rounds), side="right")]
        tokens += at < tree.nodes
    return tokens


def drawn_verdicts(
    target: np.ndarray, draft: np.ndarray, tokens: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens that come out of drafting from one distribution and verifying against another, and whether the draft's
    were kept: each of shape (tokens,).

    The draft's token x is kept with probability min(1, p(x) / q(x)), else replaced by one of norm(max(0, p - q)).
    """
    _checked(tokens)
    drafted = generator.choice(draft.size, tokens, p=draft)
    is_kept = generator.random(tokens) * draft[drafted] < target[drafted]
    rest = np.maximum(target - draft, 0.0)
    total = rest.sum()
    corrected = generator.choice(target.size, tokens, p=rest / total) if total > 0 else drafted
    return np.where(is_kept, drafted, corrected), is_kept


def static_batch(kept: np.ndarray, output_tokens: int, trials: int, seed: int) -> np.ndarray:
    """Rounds after which each sequence of a batch has its tokens, shape (trials, sequences).

    All start together; the batch ends with its slowest, the maximum over the last axis.
    """
    sequences = kept.shape[0]
    _checked(trials, sequences, 1 + output_tokens)
    generator = np.random.default_rng(seed)
    emitted = np.zeros((trials, sequences), dtype=np.int64)
    finished = np.zeros((trials, sequences), dtype=np.int64)
    # Every round emits one token or more, so that this ends.
    while True:
        is_open = emitted < output_tokens
        if not is_open.any():
            return finished
        emitted += drawn_tokens(kept, trials, generator) * is_open
        finished += is_open


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ContinuousRun(Noun):
    """Slots that take a new request as one ends, in rounds after a start that is left out.

    `tokens_per_round` is that of one slot, `standard_error` its error over slots. `rounds` holds those of each request
    that ended, shape (requests,).
    """

    tokens_per_round: float = quantity("tokens")
    standard_error: float = quantity("tokens")
    rounds: np.ndarray


def continuous_batch(
    kept: np.ndarray, output_tokens: int, slots: int, rounds: int, seed: int, warm_up: int | None = None
) -> ContinuousRun:
    """A continuous batch of requests whose acceptances are drawn from given ones, with equal chances.

    A request with lower acceptance stays longer, so that slots see more of them: tokens per round approach the
    harmonic mean over the kinds of requests, below that of a single round of each.

    Parameters
    ----------
    kept : probability that each position is kept, of each kind of request, shape (kinds, k). [1]
    output_tokens : of every request; what a request emits beyond them in its last round is dropped. [tokens]
    """
    _checked(rounds, slots)
    generator = np.random.default_rng(seed)
    skipped = rounds // 4 if warm_up is None else warm_up
    kind = generator.integers(kept.shape[0], size=slots)
    emitted = np.zeros(slots, dtype=np.int64)
    age = np.zeros(slots, dtype=np.int64)
    useful = np.zeros(slots)
    ended: list[np.ndarray] = []
    for index in range(rounds):
        chance = generator.random(slots)
        drawn = 1 + (chance[:, np.newaxis] < kept[kind]).sum(axis=1)
        drawn = np.minimum(drawn, output_tokens - emitted)
        emitted += drawn
        age += 1
        is_done = emitted >= output_tokens
        if index >= skipped:
            useful += drawn
            ended.append(age[is_done])
        kind = np.where(is_done, generator.integers(kept.shape[0], size=slots), kind)
        emitted = np.where(is_done, 0, emitted)
        age = np.where(is_done, 0, age)
    found = estimate(useful / max(rounds - skipped, 1))
    return ContinuousRun(
        tokens_per_round=found.mean, standard_error=found.standard_error, rounds=np.concatenate([*ended, []])
    )
