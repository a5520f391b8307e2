"""Loads of experts under the routings of kernel benchmarks."""

import functools

import numpy as np

SAMPLES = 16
"""Routings over which the expected load of power-law routing is averaged."""


def balanced_load(experts: int, active_experts: int, ranks: int, tokens: int) -> tuple[float, float]:
    """Pairs and awake experts of the busiest of the ranks when experts take turns [1]."""
    rows = max(tokens * active_experts / ranks, 1.0)
    return rows, min(rows, experts / ranks)


@functools.cache
def power_law_load(
    experts: int, active_experts: int, ranks: int, tokens: int, exponent: float
) -> tuple[float, float, float]:
    r"""Expected pairs and awake experts of the busiest rank, and awake experts of all ranks [1].

    The popularity of each expert is drawn from :math:`p(x) \sim x^{-\alpha}` between 1 and 0.8 n, or between
    0.01 and 2 where there are no more pairs than experts; loads are rounded, cut at n, and what is then missing
    or too much is dealt rank by rank to the emptiest or from the fullest expert.

    References
    ----------
    .. [1] ai-dynamo/aiconfigurator, collector/helper.py, `power_law_logits_v3`.
    """
    random = np.random.default_rng(0)
    pairs = tokens * active_experts
    low, high = (1.0, 0.8 * tokens) if pairs > experts else (0.01, 2.0)
    power = 1.0 - exponent
    drawn = random.random((SAMPLES, experts))
    popularity = ((high**power - low**power) * drawn + low**power) ** (1.0 / power)
    loads = np.minimum(np.rint(popularity / popularity.sum(axis=1, keepdims=True) * pairs), tokens)
    loads = loads.reshape(SAMPLES, ranks, experts // ranks)
    for sample in loads:
        _deal(sample, pairs - int(sample.sum()), tokens)
    busiest = loads[np.arange(SAMPLES), loads.sum(axis=2).argmax(axis=1)]
    return (
        float(busiest.sum(axis=1).mean()),
        float((busiest > 0).sum(axis=1).mean()),
        float((loads > 0).sum(axis=(1, 2)).mean()),
    )


def _deal(loads: np.ndarray, missing: int, tokens: int) -> None:
    """Bring loads of shape (ranks, experts of a rank) to their sum, one pair and rank after another."""
    rank, skipped = 0, 0
    while missing and skipped < len(loads):
        own = loads[rank % len(loads)]
        rank += 1
        place = own.argmin() if missing > 0 else own.argmax()
        step = 1 if missing > 0 else -1
        if not 0 <= own[place] + step <= tokens:
            skipped += 1
            continue
        own[place] += step
        missing -= step
        skipped = 0
