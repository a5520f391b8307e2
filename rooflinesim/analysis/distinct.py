"""Which points share what: equal values of aligned columns, found once."""

import numpy as np

TABLE_PER_POINT = 4
"""Entries of a table of whole numbers, per point, up to which looking values up is quicker than sorting them."""


def distinct_rows(columns: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Distinct rows of aligned columns, and for each point the place of its row among them, shape (points,)."""
    points = next(iter(columns.values())).size
    place = np.zeros(points, dtype=np.intp)
    for column in columns.values():
        values, own = distinct_values(column)
        if values.size > 1:
            # Renumbered at each column, so that the product of the sizes stays below the points squared.
            place = distinct_values(place * values.size + own)[1] if place.any() else own
    rows = np.empty(place.max(initial=0) + 1, dtype=np.intp)
    rows[place] = np.arange(points)
    return {name: column[rows] for name, column in columns.items()}, place


def distinct_values(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values of a column in rising order, and for each point the place of its value among them."""
    least, most = column.min(), column.max()
    if least == most:
        return column[:1], np.zeros(column.size, dtype=np.intp)
    if least >= 0 and most < TABLE_PER_POINT * column.size + 1024:
        whole = column.astype(np.intp)
        if np.array_equal(whole, column):
            is_there = np.zeros(int(most) + 1, dtype=bool)
            is_there[whole] = True
            values = np.flatnonzero(is_there)
            return values.astype(column.dtype), (np.cumsum(is_there) - 1)[whole]
    return np.unique(column, return_inverse=True)
