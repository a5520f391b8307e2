"""Fitted constants as answers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rooflinesim.nouns import Noun
from rooflinesim.report.columns import columns_of_rows
from rooflinesim.report.tables import View


def constants_content(constants: Sequence[Any]) -> dict[str, Any]:
    """Columns, table and notes of fitted constants; each row names its stack, value, error and whether it is fixed."""
    open_ones = [one for one in constants if not one.is_identified]
    view = View(
        lines=["Constants that the runs gave; a stack's row is what it does differently from the class (generic)."],
        headers=["stack", "constant", "value", "error", "runs", "identified"],
        rows=[
            [
                one.stack,
                one.constant,
                f"{one.value:.4g}",
                f"{100 * one.relative_error:.0f}%",
                str(one.runs),
                "yes" if one.is_identified else "no: near its start",
            ]
            for one in constants
        ],
        left=(0, 1, 5),
    )
    notes = [f"{len(open_ones)} constants are not fixed by the runs and stay near what they started from"]
    return {"columns": columns_of_rows(constants), "views": [view], "notes": notes if open_ones else []}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ConstantRow(Noun):
    """A measured constant of a device in SI units, and where it lies in 95 of 100 repetitions; None where unknown."""

    constant: str
    value: float
    low: float | None
    high: float | None


def device_content(rows: Sequence[ConstantRow]) -> dict[str, Any]:
    """Columns and table of a device's measured constants."""

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}"

    view = View(
        lines=["Constants of the device in SI units, with the interval of 95 % of repetitions."],
        headers=["constant", "value", "low", "high"],
        rows=[[row.constant, shown(row.value), shown(row.low), shown(row.high)] for row in rows],
        left=(0,),
    )
    return {"columns": columns_of_rows(rows), "views": [view]}
