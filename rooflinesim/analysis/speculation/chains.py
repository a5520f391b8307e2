"""Chains: the draft length that emits most per second, what a draft must reach to pay, and where it stops paying."""

from collections.abc import Callable

import numpy as np

from rooflinesim.analysis.speculation import tokens as formulas
from rooflinesim.workload.step import Array


def speedup(emitted: Array, plain_time: Array, round_time: Array) -> Array:
    r"""Time per token of plain decoding over that of speculation, at the same batch (3.10) [1].

    .. math:: S = \omega\, T_{dec} / T_{round}

    Parameters
    ----------
    emitted : tokens per round and sequence, bonus included. [tokens]
    plain_time : time of a plain decode step. [s]
    round_time : time of drafting, verification and everything else in a round. [s]
    """
    return emitted * plain_time / round_time


def best_option(emitted: Array, round_time: Array) -> np.ndarray:
    """Index, over the last axis, of what emits most tokens per second; the first of equals (3.16).

    Options are draft lengths or trees in the order of their size. A plain step is the option of one token in the time
    of a decode step.

    Parameters
    ----------
    emitted : tokens per round, shape (..., options). [tokens]
    round_time : shape (..., options). [s]
    """
    rate = np.asarray(emitted, dtype=np.float64) / np.asarray(round_time, dtype=np.float64)
    # Equal up to rounding is equal: the smaller draft then takes less memory.
    best: np.ndarray = np.argmax(rate >= np.max(rate, axis=-1, keepdims=True) * (1.0 - 1e-12), axis=-1)
    return best


def best_draft_length(acceptance_rate: Array, cost_ratio: Array, longest: int, decay: Array = 1.0) -> np.ndarray:
    r"""Draft length with the largest speed-up when verifying costs a plain step (3.13) [tokens].

    The smallest of 0 to `longest` that maximises :math:`\omega(k) / (k c + 1)`.

    Parameters
    ----------
    acceptance_rate, decay : as in :func:`tokens.expected_tokens`, shape (points,) or a number
    cost_ratio : c, time of a draft step over that of a plain step. [1] >= 0

    References
    ----------
    .. [1] Leviathan, Kalman, Matias. 2023, section 3.5 (numeric search).
    """
    lengths = np.arange(longest + 1.0)
    rate, ratio, fall = (
        np.asarray(value, dtype=np.float64)[..., np.newaxis] for value in (acceptance_rate, cost_ratio, decay)
    )
    return best_option(formulas.expected_tokens(lengths, rate, fall), lengths * ratio + 1.0)


def break_even_tokens(round_time: Array, plain_time: Array) -> Array:
    """Tokens that a round must emit to be as fast as plain decoding (3.14) [tokens]."""
    return round_time / plain_time


def break_even_rate(round_time: Array, plain_time: Array, draft_length: Array, decay: Array = 1.0) -> Array:
    """Acceptance of the first draft token at which a round breaks even (3.14) [1].

    Infinite where even full acceptance loses; 0 where speculation never loses, as rounds of draft length 0 that cost
    no more than a plain step do.
    """
    needed = np.asarray(break_even_tokens(round_time, plain_time), dtype=np.float64)
    most = np.asarray(formulas.most_tokens(draft_length, decay))
    needed, most = np.broadcast_arrays(needed, most)
    is_possible = needed <= most * (1.0 + 1e-12)
    rate = formulas.rate_of_tokens(np.where(is_possible, np.clip(needed, 1.0, most), 1.0), draft_length, decay)
    return np.where(is_possible, rate, np.inf)[()]


def losing_from(speedups: Array) -> np.ndarray:
    """Index, over the last axis, from which on every speed-up is below 1 (3.15); the axis' length if there is none.

    The axis holds rising batches.
    """
    pays = np.asarray(speedups) >= 1.0
    count = pays.shape[-1]
    return np.where(pays.any(axis=-1), count - np.argmax(pays[..., ::-1], axis=-1), 0)


def dealt_lengths(
    acceptance_rates: np.ndarray, longest: int, round_time: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Draft length of each sequence of a batch, so that the batch emits most per second (3.16b) [tokens].

    Draft tokens are added in the order of their survival; of all such choices the one with the highest goodput is
    taken. It is the best of all when the round's time depends on the drafted tokens only, and grows convexly: derived.

    Parameters
    ----------
    acceptance_rates : of each sequence, shape (batch,). [1] in [0, 1]
    longest : most tokens drafted for one sequence. [tokens]
    round_time : time of a round over the drafted tokens of the whole batch, arrays in and out. [s]
    """
    rates = formulas.checked_share(acceptance_rates, "acceptance_rates")
    kept = np.asarray(formulas.survival(np.arange(1, longest + 1), rates[:, np.newaxis]))
    order = np.argsort(-kept, axis=None, kind="stable")
    gains = np.concatenate([[rates.size], kept.ravel()[order]])
    drafted = np.arange(gains.size, dtype=np.float64)
    chosen = order[: int(best_option(np.cumsum(gains), round_time(drafted)))]
    return np.bincount(chosen // longest, minlength=rates.size)
