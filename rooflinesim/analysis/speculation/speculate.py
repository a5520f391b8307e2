"""What does speculation gain, point by point?"""

import dataclasses

import numpy as np

from rooflinesim.analysis.speculation import acceptance as accepted
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.lookahead import Lookahead
from rooflinesim.analysis.speculation.methods import DraftShape, Speculation, chain, tree_shape
from rooflinesim.analysis.speculation.ngram import PromptLookup
from rooflinesim.analysis.speculation.rounds import distinct_points, round_times
from rooflinesim.analysis.speculation.tokens import survival
from rooflinesim.analysis.timing import aligned
from rooflinesim.nouns import Noun
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.step import Array


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpeculateResult(Noun):
    """Rounds of speculation beside plain decode steps; one row per point, one array per column, shape (points,).

    `acceptance_rate` is the conditional one of the first drafted token. `speedup` compares the time per token at
    equal batch, `tpot`; tokens come in bursts, one per `round_time`. `is_best` marks the draft of the least time per
    token among the points of the same batch, context and acceptance. `tree_nodes` counts the root; both tree columns
    are None for chains, whose draft length is one token per pass.
    """

    batch: np.ndarray = quantity("1")
    context: np.ndarray = quantity("tokens")
    draft_length: np.ndarray = quantity("tokens", column="draft_length")
    tree_nodes: np.ndarray | None = quantity("1")
    tree_depth: np.ndarray | None = quantity("1")
    acceptance_rate: np.ndarray = quantity("1")
    tokens_per_round: np.ndarray = quantity("tokens", column="tokens_per_round")
    draft_time: np.ndarray = quantity("s")
    verify_time: np.ndarray = quantity("s")
    round_overhead_time: np.ndarray = quantity("s")
    round_time: np.ndarray = quantity("s")
    plain_step_time: np.ndarray = quantity("s")
    speedup: np.ndarray = quantity("1")
    speedup_low: np.ndarray = quantity("1")
    speedup_high: np.ndarray = quantity("1")
    tpot: np.ndarray = quantity("s")
    tokens_per_s: np.ndarray = quantity("tokens/s")
    is_best: np.ndarray


def speculate(
    speculation: Speculation,
    *,
    batch: Array | list[int] | tuple[int, ...],
    context: Array | list[int] | tuple[int, ...],
    draft_length: Array | list[int] | tuple[int, ...],
    acceptance: Acceptance,
    routing: Routing | None = None,
) -> SpeculateResult:
    r"""Rounds of chains at aligned points, and what they gain over plain decoding.

    .. math:: S = \omega\, T_{dec}(b, s) / T_{round}(b, s, k)

    A draft length of 0 is plain decoding: every time and a speed-up of exactly 1. Speed-ups below 1 are losses.

    Parameters
    ----------
    batch : b, sequences. [1] > 0, scalar or shape (points,)
    context : s, tokens cached before the round. [tokens] >= 0
    draft_length : k, tokens drafted per round. [tokens] whole, >= 0
    acceptance : of the draft by the target; its value is a number or of shape (points,)

    Raises
    ------
    DomainError : if a number is outside its range, the lengths of the columns differ, or no acceptance gives such a
        length.
    UnsupportedError : if a device cannot multiply a number format.

    References
    ----------
    .. [1] Leviathan, Kalman, Matias. Fast inference from transformers via speculative decoding. 2023, theorem 3.8,
       with measured costs of draft and verification in place of one ratio.
    """
    columns = aligned(batch=batch, context=context, draft_length=draft_length, value=acceptance.value)
    if acceptance.value is not None:
        acceptance = dataclasses.replace(acceptance, value=columns["value"])
    length = columns["draft_length"]
    tokens, kept = emitted_tokens(speculation, acceptance, length)
    rate = np.broadcast_to(accepted.acceptance_rate(acceptance, length), length.shape)
    return rounds_result(
        speculation,
        batch=columns["batch"],
        context=columns["context"],
        shape=chain(length),
        tokens=tokens,
        kept_whole=kept,
        rate=rate,
        is_sampled=bool(acceptance.temperature),
        routing=routing,
    )


def speculate_trees(
    speculation: Speculation,
    *,
    batch: Array,
    context: Array,
    nodes: Array,
    depth: Array,
    tokens: Array,
    acceptance_rate: Array,
    width: Array | None = None,
    is_sampled: bool = False,
    routing: Routing | None = None,
) -> SpeculateResult:
    """Rounds of draft trees at aligned points; `tokens` is what a tree emits on average, its last token included.

    Parameters
    ----------
    nodes : of the tree, its root among them; each is one verified token. [1] >= 1
    depth : draft passes. [1] >= 0
    width : rows of each sequence in a draft pass; None deals the nodes evenly over the passes. [tokens]
    tokens : tokens per round. [tokens] >= 1
    acceptance_rate : of the best candidate, to be shown. [1]
    """
    columns = aligned(
        batch=batch, context=context, nodes=nodes, depth=depth, tokens=tokens, rate=acceptance_rate, width=width
    )
    result = rounds_result(
        speculation,
        batch=columns["batch"],
        context=columns["context"],
        shape=tree_shape(columns["nodes"], columns["depth"], columns.get("width")),
        tokens=columns["tokens"],
        kept_whole=np.zeros_like(columns["tokens"]),
        rate=columns["rate"],
        is_sampled=is_sampled,
        routing=routing,
    )
    return dataclasses.replace(result, tree_nodes=columns["nodes"], tree_depth=columns["depth"])


def rounds_result(
    speculation: Speculation,
    *,
    batch: np.ndarray,
    context: np.ndarray,
    shape: DraftShape,
    tokens: np.ndarray,
    kept_whole: np.ndarray,
    rate: np.ndarray,
    is_sampled: bool,
    routing: Routing | None = None,
) -> SpeculateResult:
    """Rounds of any shape; `kept_whole` is the probability that the whole draft is accepted."""
    times = round_times(speculation, batch, context, shape, is_sampled=is_sampled, routing=routing)
    plain = times.plain_step_time
    drafts = times.draft_time + kept_whole * times.refill_time
    verification, overhead = times.verify_time, times.round_overhead_time
    if isinstance(speculation.method, PromptLookup):
        hit = np.where(shape.tokens > 0, speculation.method.hit_rate, 0.0)
        verification = hit * verification + (1.0 - hit) * plain
        overhead = hit * overhead
    is_plain = np.asarray(shape.tokens) == 0.0
    # Exactly one token: the closed form of what a round emits may miss it by its last digit.
    tokens = np.where(is_plain, 1.0, tokens)
    whole = drafts + verification + overhead
    per_token = whole / tokens
    speedup = plain / per_token
    law = speculation.target.stack.speculation
    return SpeculateResult(
        batch=batch,
        context=context,
        draft_length=np.asarray(shape.passes),
        tree_nodes=None,
        tree_depth=None,
        acceptance_rate=rate,
        tokens_per_round=tokens,
        draft_time=drafts,
        verify_time=verification,
        round_overhead_time=overhead,
        round_time=whole,
        plain_step_time=plain,
        speedup=speedup,
        speedup_low=np.where(is_plain, 1.0, speedup * law.speedup_low),
        speedup_high=np.where(is_plain, 1.0, speedup * law.speedup_high),
        tpot=per_token,
        tokens_per_s=batch / per_token,
        is_best=least_of_group({"batch": batch, "context": context, "rate": rate}, per_token, shape.tokens),
    )


def emitted_tokens(
    speculation: Speculation, acceptance: Acceptance, length: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Mean tokens of a round of a chain, the last one included [tokens], and how often the whole chain is kept [1].

    Prompt lookup emits :math:`h \omega + 1 - h`. Lookahead keeps the best of G candidate n-grams,
    :math:`k + 1 - \sum_i (1 - S_i)^G`.
    """
    points = np.shape(length)
    match speculation.method:
        case PromptLookup():
            found = accepted.tokens_per_round(acceptance, length)
            hit = speculation.method.hit_rate
            return np.broadcast_to(hit * found + 1.0 - hit, points), np.zeros(points)
        case Lookahead():
            return _best_of_candidates(acceptance, length, speculation.method.candidates), np.zeros(points)
        case _:
            return (
                np.broadcast_to(accepted.tokens_per_round(acceptance, length), points),
                np.broadcast_to(accepted.full_acceptance(acceptance, length), points),
            )


def _best_of_candidates(acceptance: Acceptance, length: np.ndarray, candidates: int) -> np.ndarray:
    rate = accepted.acceptance_rate(acceptance, length)
    total = np.ones(np.shape(length))
    for position in range(1, int(np.max(length, initial=0)) + 1):
        kept = 1.0 - (1.0 - survival(float(position), rate, acceptance.decay)) ** candidates
        total = total + np.where(position <= length, kept, 0.0)
    return total


def least_of_group(keys: dict[str, np.ndarray], values: np.ndarray, drafted: Array) -> np.ndarray:
    """Whether each point has the least value among those of equal keys; of equal values the shortest draft has it."""
    distinct, group = distinct_points(keys)
    size = next(iter(distinct.values())).size
    least = np.full(size, np.inf)
    np.minimum.at(least, group, values)
    is_least = values <= least[group]
    shortest = np.full(size, np.inf)
    tokens: np.ndarray = np.where(is_least, np.broadcast_to(drafted, values.shape), np.inf)
    np.minimum.at(shortest, group, tokens)
    is_shortest: np.ndarray = is_least & (tokens <= shortest[group])
    return is_shortest
