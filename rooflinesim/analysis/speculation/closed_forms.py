"""Speed-up of speculation in closed form: what published rules say, and the limits that a simulation must meet.

Numbers in brackets are the `eq` of the oracles that check a formula. None of these knows a kernel; `speculate` times
rounds with the per-operation model instead.
"""

import numpy as np

from rooflinesim.analysis.speculation.tokens import survival_tokens, survival_variance
from rooflinesim.workload.experts import distinct_experts
from rooflinesim.workload.step import Array


def constant_cost_speedup(emitted: Array, draft_length: Array, cost_ratio: Array) -> Array:
    r"""Leviathan's speed-up, with a verification as long as a plain step (3.11) [1].

    .. math:: S = \omega / (k c + 1)

    Parameters
    ----------
    emitted : tokens per round, bonus included. [tokens]
    draft_length : k. [tokens]
    cost_ratio : c, time of a draft step over that of a plain step. [1]

    References
    ----------
    .. [1] Leviathan, Kalman, Matias. Fast inference from transformers via speculative decoding. 2023, theorem 3.8.
    """
    speedup: Array = emitted / (np.asarray(draft_length) * cost_ratio + 1.0)
    return speedup


def least_best_speedup(acceptance_rate: Array, cost_ratio: Array) -> Array:
    """What the best draft length reaches at least when acceptance exceeds the cost ratio, (1 + a) / (1 + c) [1]."""
    return (1.0 + acceptance_rate) / (1.0 + cost_ratio)


def operations_factor(emitted: Array, draft_length: Array, operations_ratio: Array) -> Array:
    """FLOPs per emitted token over those of plain decoding, (k chat + k + 1) / omega (3.12) [1].

    `operations_ratio` is that of one draft token to one target token.

    References
    ----------
    .. [1] Leviathan, Kalman, Matias. 2023, theorem 3.11.
    """
    return (draft_length * operations_ratio + draft_length + 1.0) / emitted


def rounds_to_finish(kept: Array, output_tokens: Array) -> Array:
    r"""Mean rounds until one sequence has emitted so many tokens (3.17) [1].

    .. math:: \frac{N + E[Y(Y-1)] / (2 \omega)}{\omega}

    with Y the tokens of a round: Wald's equation, and the mean by which the last round overshoots. Derived; for
    outputs of many rounds.

    Parameters
    ----------
    kept : probability that each position is kept, shape (..., k). [1]
    output_tokens : N. [tokens]
    """
    mean = survival_tokens(kept)
    second = survival_variance(kept) + mean**2
    rounds: Array = (output_tokens + (second - mean) / (2.0 * mean)) / mean
    return rounds


def relative_half_width(kept: Array, rounds: Array) -> Array:
    """Half-width of the 95 % interval of tokens per round, or a speed-up, measured over so many rounds (3.18) [1]."""
    width: Array = 1.96 * np.sqrt(survival_variance(kept)) / (survival_tokens(kept) * np.sqrt(rounds))
    return width


def completion_time(kept: Array, output_tokens: Array, round_time: Array) -> tuple[Array, Array]:
    r"""Mean and standard deviation of the time in which one sequence emits N tokens (3.19) [s].

    .. math:: N T / \omega, \qquad T \sqrt{N\, \mathrm{Var}} / \omega^{1.5}

    The limit of many rounds. Derived.
    """
    mean = survival_tokens(kept)
    deviation: Array = round_time * np.sqrt(output_tokens * survival_variance(kept)) / mean**1.5
    return output_tokens * round_time / mean, deviation


def eagle3_parameters(
    target_width: int, width: int, heads: int, kv_heads: int, head_size: int, inner: int, vocabulary: int
) -> int:
    """Parameters of an EAGLE-3 head with its own reduced vocabulary, norms not counted (3.24).

    The features of three target layers enter a projection; queries, keys and values are twice as wide.
    """
    attention = 2 * width * (heads + 2 * kv_heads) * head_size + heads * head_size * width
    return 3 * target_width * width + attention + 3 * width * inner + vocabulary * width


def medusa_parameters(heads: int, width: int, vocabulary: int) -> int:
    """Parameters of Medusa heads, each a square block and a vocabulary head, which the verification step reads."""
    return heads * (width * width + vocabulary * width)


def parallel_candidates_tokens(acceptance_rate: Array, draft_length: int, candidates: Array) -> Array:
    r"""Tokens per round of independent candidate n-grams, the longest match taken (3.25) [tokens].

    .. math:: \omega = k + 1 - \sum_{i=1}^{k} (1 - a^i)^W

    With one candidate it is the chain's (3.1).
    """
    kept = np.asarray(acceptance_rate)[..., np.newaxis] ** np.arange(1, draft_length + 1)
    missed = (1.0 - kept) ** np.asarray(candidates)[..., np.newaxis]
    tokens: Array = draft_length + 1.0 - missed.sum(axis=-1)
    return tokens


def occasional_steps(emitted: Array, every: Array) -> Array:
    """Tokens per step when only every h-th step has a good candidate, (h - 1 + omega) / h (3.25) [tokens]."""
    return (every - 1.0 + emitted) / every


def early_exit_speedup(
    emitted: Array, draft_length: Array, layers: Array, exit_layer: Array, layer_time: Array, head_time: Array
) -> Array:
    r"""Speed-up of drafting with the first layers of the target itself, weights alone timed (3.26) [1].

    .. math:: S = \frac{\omega (L t + h)}{k (E t + h) + L t + h}

    The verified tokens pass all layers; the draft's keys and values of the first E layers are shared. Derived.
    """
    plain = layers * layer_time + head_time
    return emitted * plain / (draft_length * (exit_layer * layer_time + head_time) + plain)


def lookup_speedup(hit_rate: Array, emitted: Array, verify_ratio: Array) -> Array:
    r"""Speed-up of prompt lookup, which drafts at no cost and only where it finds a match (3.27) [1].

    .. math:: S = \frac{h\, \omega + 1 - h}{h\, v + 1 - h}, \qquad v = T_{ver} / T_{dec}
    """
    return (hit_rate * emitted + 1.0 - hit_rate) / (hit_rate * verify_ratio + 1.0 - hit_rate)


def large_batch_speedup(
    emitted: Array,
    draft_length: Array,
    *,
    token_time: Array,
    cache_time: Array,
    context: Array,
    draft_token_time: Array,
    draft_cache_time: Array,
    draft_context: Array,
) -> Array:
    r"""Speed-up as the batch grows without bound: products compute-bound, attention memory-bound (3.28) [1].

    .. math:: S = \frac{\omega (A + K s)}{k (A_d + K_d s_d) + (k + 1) A + K s}

    Parameters
    ----------
    token_time : A = 2 Nw / P, time of the products of one token. [s]
    cache_time : K = kv / BW, time to read one cached token. [s]
    context, draft_context : cached tokens that a step of the target, or of the draft, reads per sequence. [tokens]
    draft_token_time, draft_cache_time : A and K of the draft. [s]
    """
    plain = token_time + cache_time * context
    drafting = draft_length * (draft_token_time + draft_cache_time * draft_context)
    return emitted * plain / (drafting + draft_length * token_time + plain)


def memory_bound_context(
    draft_length: Array, *, streamed_parameters: Array, ridge: Array, cache_bytes: Array, pair_flops: Array
) -> Array:
    r"""Context from which a verification is memory-bound at any batch (3.29) [tokens].

    .. math:: s > \frac{2 N_w (k + 1)}{R\, kv - \varphi (k + 1)}

    Infinite where verifying so many tokens makes attention itself compute-bound.

    Parameters
    ----------
    ridge : R = P / BW. [FLOP/B]
    cache_bytes : kv, of one cached token. [B]
    pair_flops : phi, attention FLOPs per query and cached token, all layers. [FLOP]
    """
    rows = np.asarray(draft_length, dtype=np.float64) + 1.0
    slack = ridge * cache_bytes - pair_flops * rows
    return np.where(slack > 0, 2.0 * streamed_parameters * rows / np.where(slack > 0, slack, 1.0), np.inf)[()]


def bounded_cache_speedup(emitted: Array, draft_length: Array, cache_budget: Array, context: Array) -> Array:
    """Limit of self-speculation whose draft reads a bounded cache, omega / (1 + k budget / s) (3.30) [1].

    An upper bound of (3.28), met as the context grows.
    """
    return emitted / (1.0 + draft_length * cache_budget / context)


def expert_speedup(
    emitted: Array,
    draft_length: Array,
    *,
    batch: Array,
    experts: int,
    active_experts: int,
    dense_bytes: Array,
    expert_bytes: Array,
) -> Array:
    r"""Speed-up of a mixture of experts while weights bound it, draft free (3.31) [1].

    .. math:: S = \omega \frac{W_d + W_e A(b)}{W_d + W_e A(b (k + 1))}

    A verification wakes the experts of b (k + 1) tokens: worst at a few sequences, best at moderate batches.

    Parameters
    ----------
    dense_bytes : Wd, weights that every step reads. [B]
    expert_bytes : We, of one expert of every layer together. [B]

    References
    ----------
    .. [1] MoESD. 2025, arXiv 2505.19645, equations 8 and 10 for A.
    """

    def weights(tokens: Array) -> Array:
        return dense_bytes + expert_bytes * distinct_experts(experts, active_experts, tokens)

    return emitted * weights(batch) / weights(batch * (np.asarray(draft_length) + 1.0))


def paying_context(
    emitted: Array,
    draft_length: Array,
    *,
    token_time: Array,
    cache_time: Array,
    draft_token_time: Array,
    draft_cache_time: Array,
    draft_context: Array,
) -> Array:
    r"""Shortest context at which speculation pays at any batch: where (3.28) is 1 (3.32) [tokens].

    .. math:: s = \frac{k (A_d + K_d s_d) + (k + 1 - \omega) A}{K (\omega - 1)}

    With the arguments of :func:`large_batch_speedup`; infinite where nothing is accepted.
    """
    gain = np.asarray(emitted, dtype=np.float64) - 1.0
    drafting = draft_length * (draft_token_time + draft_cache_time * draft_context)
    needed = drafting + (draft_length - gain) * token_time
    return np.where(gain > 0, needed / (cache_time * np.where(gain > 0, gain, 1.0)), np.inf)[()]
