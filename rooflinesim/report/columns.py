"""Result dataclasses -> named columns, in the names of JSON and CSV."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rooflinesim.units import column_name, fields_own_first

Columns = Mapping[str, Sequence[Any]]


def columns_of(result: Any) -> dict[str, Sequence[Any]]:
    """Columns of a result that holds one array per field; a column without values is all None."""
    fields = fields_own_first(type(result))
    length = max(len(getattr(result, field.name)) for field in fields if getattr(result, field.name) is not None)
    return {
        column_name(field): [None] * length if getattr(result, field.name) is None else getattr(result, field.name)
        for field in fields
    }


def columns_of_rows(rows: Iterable[Any]) -> dict[str, Sequence[Any]]:
    """Columns of a sequence of equal dataclass instances."""
    rows = tuple(rows)
    if not rows:
        return {}
    fields = fields_own_first(type(rows[0]))
    return {column_name(field): [getattr(row, field.name) for row in rows] for field in fields}


def records(columns: Columns) -> list[dict[str, Any]]:
    """Columns as one mapping per row, of plain Python values."""
    plain = {name: _plain(values) for name, values in columns.items()}
    return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]


def _plain(values: Sequence[Any]) -> list[Any]:
    """Plain Python values, whole numbers without a point."""
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    return [int(one) if isinstance(one, float) and one.is_integer() and abs(one) < 2**53 else one for one in listed]
