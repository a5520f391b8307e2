"""Rows at which the time of a matrix multiplication has doubled: where it stops being that of its weights."""

from collections.abc import Mapping

import numpy as np

Columns = Mapping[str, np.ndarray]
"""Measured rows, each of shape (rows,): `rows` [tokens], `outputs` and `inputs` of the matrix, and the `time` [s]."""


def doubling_rows(rows: np.ndarray, time: np.ndarray) -> float:
    """Count of rows at which the time of one matrix is twice that of its fewest rows; nan if it never is [tokens].

    Between measured counts the time is taken as a power of the rows. A measured time that falls again
    with more rows counts as the lower one: a kernel that is faster for more rows serves fewer as well.
    """
    order = np.argsort(rows)
    logarithm = np.log(rows[order].astype(float))
    steady = np.minimum.accumulate(time[order][::-1])[::-1]
    growth = np.log(steady / steady[0])
    above = np.flatnonzero(growth >= np.log(2.0))
    if above.size == 0:
        return float("nan")
    after = int(above[0])
    share = (np.log(2.0) - growth[after - 1]) / (growth[after] - growth[after - 1])
    return float(np.exp(logarithm[after - 1] + share * (logarithm[after] - logarithm[after - 1])))


def doublings(columns: Columns, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Measured and predicted rows at which time has doubled, for each matrix that is measured from one row on.

    Columns `outputs`, `inputs`, `measured` and `predicted`; matrices whose time does not double are left out.
    """
    found = []
    shapes = np.stack([columns["outputs"], columns["inputs"]], axis=1)
    for shape in np.unique(shapes, axis=0):
        inside = (shapes == shape).all(axis=1)
        if columns["rows"][inside].min() > 1:
            continue
        measured = doubling_rows(columns["rows"][inside], columns["time"][inside])
        expected = doubling_rows(columns["rows"][inside], predicted[inside])
        if np.isfinite(measured) and np.isfinite(expected):
            found.append((*shape, measured, expected))
    table = np.array(found, dtype=float).reshape(-1, 4)
    return dict(zip(("outputs", "inputs", "measured", "predicted"), table.T, strict=True))
