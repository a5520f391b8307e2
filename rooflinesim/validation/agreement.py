"""What a run of steps tells beyond single errors: intervals of the mean error, half-throughput batches, noise."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from rooflinesim.nouns import Noun
from rooflinesim.units import quantity

RESAMPLES = 400
"""Bootstrap repetitions behind an interval."""


def mape_interval(
    times: Sequence[Sequence[tuple[int, float]]], predicted: np.ndarray, clusters: Sequence[str]
) -> tuple[float, float]:
    """Interval of 95 % of the mean error: rounds drawn anew within cells, and clusters of cells drawn anew [1].

    Draws scatter more than what they are drawn from, which lengthens absolute errors; so their quantiles are scaled by
    the mean error over their median.

    Parameters
    ----------
    times : of each cell, with their rounds. [s]
    predicted : time of each cell. [s] shape (cells,)
    clusters : of cells that share what makes them err, such as a model in a number format
    """
    drawn = np.random.default_rng(0)
    names = np.array(clusters)
    distinct = np.unique(names)
    means = []
    for _ in range(RESAMPLES):
        middle = np.array([np.median(drawn.choice([time for _, time in own], len(own))) for own in times])
        apart = np.abs(predicted / middle - 1.0)
        chosen = drawn.choice(distinct, distinct.size)
        means.append(np.concatenate([apart[names == name] for name in chosen]).mean())
    low, middle_draw, high = np.quantile(means, (0.025, 0.5, 0.975))
    medians = np.array([np.median([time for _, time in own]) for own in times])
    scale = float(np.abs(predicted / medians - 1.0).mean()) / middle_draw if middle_draw > 0.0 else 1.0
    return float(scale * low), float(scale * high)


def median_interval(times: Sequence[float]) -> tuple[float, float]:
    """Interval of a median from the order of its samples: 95 % where there are six and more, else their ends."""
    ordered = np.sort(times)
    if ordered.size < 6:
        return float(ordered[0]), float(ordered[-1])
    # Ranks by the normal approximation of the binomial distribution.
    half = 0.98 * np.sqrt(ordered.size)
    low = int(max(0, np.floor(0.5 * ordered.size - half)))
    high = int(min(ordered.size - 1, np.ceil(0.5 * ordered.size + half)))
    return float(ordered[low]), float(ordered[high])


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HalfThroughput(Noun):
    """Batch at which a decoder reaches half of its limit of throughput, measured and predicted; None: none found."""

    group: str
    measured: float | None = quantity("1")
    predicted: float | None = quantity("1")


def half_throughput_batch(batch: np.ndarray, time: np.ndarray) -> float | None:
    r"""Batch a / s of the line :math:`t = a + s B` through steps of two sequences and more [1].

    Errors are taken relative to times. None where the line does not rise, or begins below zero.

    References
    ----------
    .. [1] Hockney, Jesshope. Parallel Computers 2. 1988: the half-performance length.
    """
    chosen = batch >= 2
    if np.unique(batch[chosen]).size < 3:
        return None
    rows = np.stack([np.ones(chosen.sum()), batch[chosen]], axis=1) / time[chosen, None]
    (start, slope), *_ = np.linalg.lstsq(rows, np.ones(rows.shape[0]), rcond=None)
    return float(start / slope) if start > 0 and slope > 0 else None


def half_throughputs(
    groups: Sequence[str], batch: np.ndarray, measured: np.ndarray, predicted: np.ndarray
) -> tuple[HalfThroughput, ...]:
    """Half-throughput batches of each group of cells, which differ in their batch alone."""
    names = np.array(groups)
    return tuple(
        HalfThroughput(
            group=str(name),
            measured=half_throughput_batch(batch[names == name], measured[names == name]),
            predicted=half_throughput_batch(batch[names == name], predicted[names == name]),
        )
        for name in np.unique(names)
    )


def share_rows(measured: Mapping[str, float], predicted: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """Shares of a step that each operation takes, measured and predicted, the largest first [1]."""
    whole, foretold = sum(measured.values()), sum(predicted.values())
    return sorted(
        (
            (name, measured.get(name, 0.0) / whole, predicted.get(name, 0.0) / foretold)
            for name in {**measured, **predicted}
        ),
        key=lambda row: -row[1],
    )
