"""Recorded runs, which hold their own predictions."""

from collections.abc import Mapping

import numpy as np

from rooflinesim.analysis.comparison import Comparison, Skipped, sampled
from rooflinesim.validation.tables import Table, number


def own_comparison(table: Table, limit: int | None = None) -> Comparison:
    """Rows of a recorded run, which hold what was predicted before they were measured."""
    kept: list[Mapping[str, str]] = []
    skipped = list(table.skipped)
    for index in sampled(len(table.rows), limit):
        row = table.rows[int(index)]
        values = [number(row[name]) for name in ("measured", "predicted", "low", "high")]
        if any(value is None or value <= 0 for value in values):
            skipped.append(Skipped(id=row["id"], reason="measured, predicted, low and high must be positive numbers"))
        elif row["unit"].strip() == "":
            skipped.append(Skipped(id=row["id"], reason="the unit is missing; s for times, 1 for ratios"))
        else:
            kept.append(row)

    def column(name: str) -> np.ndarray:
        return np.array([float(row[name]) for row in kept])

    names = [
        name for name in (kept[0] if kept else {}) if name not in ("measured", "predicted", "low", "high", "ratio")
    ]
    return Comparison(
        ids=np.array([row["id"] for row in kept], dtype=object),
        measured=column("measured"),
        predicted=column("predicted"),
        low=column("low"),
        high=column("high"),
        roofline=np.array([number(row.get("roofline")) or np.nan for row in kept], dtype=np.float64),
        labels={
            **{name: np.array([row[name] for row in kept], dtype=object) for name in names},
            "regime": np.array([row["group"] for row in kept], dtype=object),
        },
        skipped=tuple(skipped),
    )
