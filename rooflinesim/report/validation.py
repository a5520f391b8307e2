"""Predicted beside measured as answers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rooflinesim.report import text
from rooflinesim.report.tables import View
from rooflinesim.units import format_quantity

if TYPE_CHECKING:
    from rooflinesim.analysis.comparison import Comparison, Score

WORST = 8
"""Rows that are shown because they are furthest off."""


def validation_content(found: "Comparison", scores: "Sequence[Score]", by: Sequence[str]) -> dict[str, Any]:
    """Columns, summary and skipped rows of a comparison."""
    every, *groups = scores
    names = [", ".join(parts) for parts in zip(*(found.labels[name].astype(str) for name in by), strict=True)]
    return {
        "columns": {
            "id": found.ids,
            "group": names,
            "measured": found.measured,
            "predicted": found.predicted,
            "low": found.low,
            "high": found.high,
            "unit": found.labels["unit"],
            "ratio": found.predicted / found.measured,
            "roofline": found.roofline,
        },
        "summary": {
            **_score(every),
            "skipped": len(found.skipped),
            "groups": [{"group": one.group, **_score(one)} for one in groups],
        },
        "skipped": [{"id": one.id, "reason": one.reason} for one in found.skipped],
        "notes": [f"{count} rows skipped: {reason}" for reason, count in _counted(found).most_common(6)],
    }


def rule_notes(errors: Mapping[str, float]) -> list[str]:
    """What simple rules reach on the same speed-ups of speculation."""
    if not errors:
        return []
    leviathan, constant = errors["leviathan_mape"], errors["constant_mape"]
    return [
        f"simple rules on the speed-ups: Leviathan's formula with the parameter ratio {leviathan:.1%} MAPE,"
        f" 0.67 x accepted length {constant:.1%}"
    ]


def _counted(found: "Comparison") -> Counter[str]:
    """Reasons of skipped rows, those that differ in a name only taken together."""
    return Counter(one.reason.split(" as ")[0].split(": ")[0] for one in found.skipped)


def _score(one: "Score") -> dict[str, Any]:
    names = ("n", "mape", "median_ape", "p90_ape", "bias", "inside_band", "within_10", "within_25")
    return {name: getattr(one, name) for name in (*names, "roofline_mape", "roofline_75_mape")}


def validation_views(found: "Comparison", scores: "Sequence[Score]") -> list[View]:
    """Table of errors by group, and of the rows that are furthest off."""
    return [
        View(
            lines=[
                f"Predicted against measured: {scores[0].n:,} rows, {len(found.skipped):,} skipped.",
                "Error is |predicted/measured - 1|; the band is meant to hold 80 % of measurements.",
            ],
            headers=["group", "n", "MAPE", "median", "P90", "bias", "in band", "<10 %", "<25 %", "roofline", "/0.75"],
            rows=[_row(one) for one in scores],
        ),
        View(
            lines=["Furthest off:"],
            headers=["id", "measured", "predicted", "band", "ratio"],
            rows=[_worst(found, index) for index in _order(found)[:WORST]],
        ),
    ]


def _row(one: "Score") -> list[str]:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}%"

    return [
        one.group,
        text.whole(one.n),
        share(one.mape),
        share(one.median_ape),
        share(one.p90_ape),
        f"{100 * one.bias:+.1f}%",
        f"{one.inside_band:.2f}",
        f"{one.within_10:.2f}",
        f"{one.within_25:.2f}",
        share(one.roofline_mape),
        share(one.roofline_75_mape),
    ]


def _order(found: "Comparison") -> list[int]:
    apart = abs(found.predicted / found.measured - 1.0)
    return [int(index) for index in (-apart).argsort(kind="stable")]


def _worst(found: "Comparison", index: int) -> list[str]:
    unit = str(found.labels["unit"][index])

    def shown(value: float) -> str:
        return format_quantity(value, unit, 3) if unit == "s" else f"{value:.3g}"

    return [
        str(found.ids[index]),
        shown(float(found.measured[index])),
        shown(float(found.predicted[index])),
        f"{shown(float(found.low[index]))} - {shown(float(found.high[index]))}",
        f"{found.predicted[index] / found.measured[index]:.2f}",
    ]
