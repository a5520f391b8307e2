"""Predicted beside measured: how far apart, by any label."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from rooflinesim.nouns import Noun
from rooflinesim.units import quantity

RATE = "tokens/s"
"""Unit of rows that are rates."""

SEED = 20240229
"""Seed of every sample of rows, so that two runs take the same ones."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Skipped(Noun):
    """A row that was not predicted, and why."""

    id: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Comparison(Noun):
    """Measured and predicted times of rows, each column of shape (rows,); `labels` by column name.

    `low` and `high` are the ends of the predictions' bands, `roofline` the time at datasheet rates. Rows whose label
    `unit` is `RATE` hold rates in place of times.
    """

    ids: np.ndarray
    measured: np.ndarray = quantity("s")
    predicted: np.ndarray = quantity("s")
    low: np.ndarray = quantity("s")
    high: np.ndarray = quantity("s")
    roofline: np.ndarray = quantity("s")
    labels: Mapping[str, np.ndarray]
    skipped: tuple[Skipped, ...]

    def rows(self, chosen: np.ndarray) -> "Comparison":
        """Rows at these places alone."""
        columns = {
            name: getattr(self, name)[chosen] for name in ("ids", "measured", "predicted", "low", "high", "roofline")
        }
        labels = {name: values[chosen] for name, values in self.labels.items()}
        return Comparison(**columns, labels=labels, skipped=self.skipped)

    def with_labels(self, labels: Mapping[str, np.ndarray]) -> "Comparison":
        """The same rows under other labels."""
        return dataclasses.replace(self, labels=labels)

    def with_skipped(self, skipped: tuple[Skipped, ...]) -> "Comparison":
        """The same rows with other rows beside them that were not predicted."""
        return dataclasses.replace(self, skipped=skipped)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Score(Noun):
    """Errors of one group: APE is abs(predicted / measured - 1), bias the median of predicted / measured - 1.

    `inside_band` is the share of measurements within [low, high]; `within_10` and `within_25` those with an APE of at
    most 10 and 25 %. The roofline's are the MAPE of datasheet rates, and of 75 % of them; None where a row has none.
    """

    group: str
    n: int
    mape: float = quantity("1")
    median_ape: float = quantity("1")
    p90_ape: float = quantity("1")
    bias: float = quantity("1")
    inside_band: float = quantity("1")
    within_10: float = quantity("1")
    within_25: float = quantity("1")
    roofline_mape: float | None = quantity("1", default=None)
    roofline_75_mape: float | None = quantity("1", default=None)


def score(found: Comparison, chosen: np.ndarray, group: str) -> Score | None:
    """Errors of chosen rows; None where there are none."""
    if not chosen.any():
        return None
    measured = found.measured[chosen]

    def apart(predicted: np.ndarray) -> np.ndarray:
        return np.asarray(predicted[chosen] / measured - 1.0)

    is_rate = found.labels.get("unit", np.full(found.ids.size, "")) == RATE
    error = apart(found.predicted)
    size = np.abs(error)
    inside = (measured >= found.low[chosen]) & (measured <= found.high[chosen])
    return Score(
        group=group,
        n=int(chosen.sum()),
        mape=float(size.mean()),
        median_ape=float(np.median(size)),
        p90_ape=float(np.quantile(size, 0.9)),
        bias=float(np.median(error)),
        inside_band=float(inside.mean()),
        within_10=float((size <= 0.10).mean()),
        within_25=float((size <= 0.25).mean()),
        roofline_mape=_known(np.abs(apart(found.roofline)).mean()),
        roofline_75_mape=_known(np.abs(apart(np.where(is_rate, found.roofline * 0.75, found.roofline / 0.75))).mean()),
    )


def _known(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None


def scores(found: Comparison, by: Sequence[str]) -> tuple[Score, ...]:
    """Errors of all rows first, then of each value of the columns together, the largest group first.

    Raises
    ------
    KeyError : if a column is not among the labels.
    """
    every = score(found, np.ones(found.measured.size, dtype=bool), "all")
    if every is None:
        return ()
    if not by:
        return (every,)
    columns = [found.labels[name].astype(str) for name in by]
    names = np.array([", ".join(parts) for parts in zip(*columns, strict=True)])
    groups, counts = np.unique(names, return_counts=True)
    ordered = groups[np.argsort(-counts, kind="stable")]
    return (every, *(one for name in ordered if (one := score(found, names == name, str(name)))))


def sampled(rows: int, limit: int | None) -> np.ndarray:
    """Indices of at most `limit` rows in their order, drawn with a fixed seed."""
    if limit is None or rows <= limit:
        return np.arange(rows)
    return np.sort(np.random.default_rng(SEED).choice(rows, limit, replace=False))


def joined(parts: Sequence[Comparison]) -> Comparison:
    """Several comparisons as one; a label that a part does not have is empty there."""
    names = tuple(dict.fromkeys(name for part in parts for name in part.labels))

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts]) if parts else np.array([])

    return Comparison(
        ids=column("ids"),
        measured=column("measured"),
        predicted=column("predicted"),
        low=column("low"),
        high=column("high"),
        roofline=column("roofline"),
        labels={
            name: np.concatenate(
                [np.asarray(part.labels.get(name, np.full(part.ids.size, ""))).astype(object) for part in parts]
            )
            for name in names
        },
        skipped=tuple(one for part in parts for one in part.skipped),
    )


def reasons(skipped: Sequence[Skipped], most: int = 3) -> str:
    """The most frequent reasons for which rows were skipped, counted."""
    counted = Counter(one.reason for one in skipped).most_common(most)
    return "; ".join(f"{count} x {reason}" for reason, count in counted)
