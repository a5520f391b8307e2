"""Fitted constants as answers."""

from collections.abc import Sequence
from typing import Any

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
