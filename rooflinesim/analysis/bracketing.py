"""Where a condition on aligned values first changes: looked for on a grid, then narrowed down."""

import dataclasses
from collections.abc import Callable

import numpy as np

from rooflinesim.nouns import Noun

Condition = Callable[[np.ndarray], np.ndarray]

SECTIONS = 64
"""Parts that each round cuts a bracket into."""
TOLERANCE = 1e-13
"""Width of a bracket of real values, relative to its end, that is narrow enough."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Edge(Noun):
    """Neighbours between which a condition changes: None where the values end before it does.

    `before` is a value at which it is as at the first value of the grid, the last whole one, `after` the first at which
    it is not.
    """

    before: float | None
    after: float | None


def edge(condition: Condition, grid: np.ndarray, held: np.ndarray, *, whole: bool) -> Edge:
    """The first change of a condition along a grid.

    Every point of the grid is looked at, so that of several changes the first is found, unless two fall between
    neighbours of the grid.

    Parameters
    ----------
    grid : values in rising order, shape (points,)
    held : the condition at the grid's values
    whole : whether only whole values count; else they are real, and found to 1e-13
    """
    changed = held != held[0]
    if not changed.any():
        return Edge(before=float(grid[-1]), after=None)
    index = int(changed.argmax())
    low, high = float(grid[index - 1]), float(grid[index])
    if not whole:
        return Edge(before=low, after=reached_between(lambda values: condition(values) != held[0], low, high))
    while high - low > 1.0:
        low, high = _narrowed(condition, bool(held[0]), np.unique(np.round(_between(low, high))), low)
    return Edge(before=low, after=high)


def _between(low: float, high: float) -> np.ndarray:
    """The ends of all sections of a bracket but its first."""
    return np.linspace(low, high, SECTIONS + 1)[1:]


def _narrowed(
    condition: Condition, held: bool, points: np.ndarray, low: float, *, is_last: bool = False
) -> tuple[float, float]:
    """The neighbours among points between which a condition first, or last, changes."""
    points = points[points > low]
    is_changed = condition(points) != held
    # Rounding may put the end of the bracket itself on the other side.
    is_changed[-1] = True
    found = int(is_changed.size - np.argmin(is_changed[::-1])) if is_last and not is_changed.all() else 0
    found = found if is_last else int(is_changed.argmax())
    return (low if found == 0 else float(points[found - 1])), float(points[found])


def reached_between(condition: Condition, low: float, high: float, *, is_last: bool = False) -> float:
    """The first value above `low` at which a condition holds that holds at `high` but not at `low`, to 1e-13.

    With `is_last`, the value from which on it holds up to `high`.
    """
    while high - low > TOLERANCE * abs(high):
        narrowed = _narrowed(condition, False, _between(low, high), low, is_last=is_last)
        if narrowed == (low, high):
            break
        low, high = narrowed
    return high
