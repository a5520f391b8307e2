"""Predicted speed-ups of speculation beside measured ones, and beside two simple rules."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from rooflinesim.analysis.comparison import Comparison, Skipped
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity

RULES = ("leviathan", "constant")
"""Simple rules that stand beside every prediction."""

CONSTANT_SHARE = 0.67
"""Speed-up per token of the accepted length, bonus included, when one number has to do for all [1]."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpeedupComparison(Noun):
    """Measured and predicted speed-ups of rows, each column of shape (rows,); `labels` by column name.

    `low` and `high` are the ends of the predictions' bands. `leviathan` is tokens per round over 1 + passes x the
    parameter ratio of the draft, `constant` is 0.67 times the tokens per round.
    """

    ids: np.ndarray
    measured: np.ndarray = quantity("1")
    predicted: np.ndarray = quantity("1")
    low: np.ndarray = quantity("1")
    high: np.ndarray = quantity("1")
    leviathan: np.ndarray = quantity("1")
    constant: np.ndarray = quantity("1")
    labels: Mapping[str, np.ndarray]
    skipped: tuple[Skipped, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpeedupScore(Noun):
    """Errors of one group: APE is abs(predicted / measured - 1), bias the median of predicted / measured - 1.

    `inside_band` is the share of measurements within [low, high]; the rules' are the MAPE of the simple rules.
    """

    group: str
    n: int
    mape: float = quantity("1")
    median_ape: float = quantity("1")
    p90_ape: float = quantity("1")
    bias: float = quantity("1")
    inside_band: float = quantity("1")
    leviathan_mape: float = quantity("1")
    constant_mape: float = quantity("1")


def speedup_score(found: SpeedupComparison, chosen: np.ndarray, group: str) -> SpeedupScore | None:
    """Errors of chosen rows; None where there are none."""
    if not chosen.any():
        return None
    measured = found.measured[chosen]
    error = found.predicted[chosen] / measured - 1.0
    size = np.abs(error)
    inside = (measured >= found.low[chosen]) & (measured <= found.high[chosen])
    return SpeedupScore(
        group=group,
        n=int(chosen.sum()),
        mape=float(size.mean()),
        median_ape=float(np.median(size)),
        p90_ape=float(np.quantile(size, 0.9)),
        bias=float(np.median(error)),
        inside_band=float(inside.mean()),
        leviathan_mape=float(np.abs(found.leviathan[chosen] / measured - 1.0).mean()),
        constant_mape=float(np.abs(found.constant[chosen] / measured - 1.0).mean()),
    )


def speedup_scores(found: SpeedupComparison, by: Sequence[str]) -> tuple[SpeedupScore, ...]:
    """Errors of all rows first, then of each value of the columns together, the largest group first.

    Raises
    ------
    KeyError : if a column is not among the labels.
    """
    every = speedup_score(found, np.ones(found.measured.size, dtype=bool), "all")
    if every is None or not by:
        return () if every is None else (every,)
    columns = [found.labels[name].astype(str) for name in by]
    names = np.array([", ".join(parts) for parts in zip(*columns, strict=True)])
    groups, counts = np.unique(names, return_counts=True)
    ordered = groups[np.argsort(-counts, kind="stable")]
    return (every, *(one for name in ordered if (one := speedup_score(found, names == name, str(name)))))


def as_comparison(found: SpeedupComparison) -> Comparison:
    """Speed-ups as rows of any comparison: ratios without a roofline, the simple rules among the labels."""
    labels = {
        **found.labels,
        "unit": np.full(found.ids.size, "1", dtype=object),
        **{f"{rule}_rule": getattr(found, rule).astype(object) for rule in RULES},
    }
    return Comparison(
        ids=found.ids,
        measured=found.measured,
        predicted=found.predicted,
        low=found.low,
        high=found.high,
        roofline=np.full(found.ids.size, np.nan),
        labels=labels,
        skipped=found.skipped,
    )


def rule_errors(found: Comparison) -> dict[str, float]:
    """MAPE of each simple rule over the speed-ups of a comparison, by column name; none where it holds no speed-up."""
    errors: dict[str, float] = {}
    for rule in RULES:
        values = found.labels.get(f"{rule}_rule")
        if values is not None:
            known = np.array([value != "" for value in values])
            predicted = values[known].astype(np.float64)
            errors[f"{rule}_mape"] = float(np.abs(predicted / found.measured[known] - 1.0).mean())
    return errors
