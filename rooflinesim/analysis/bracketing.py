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

    `before` is the last value at which it is as at the first value of the grid, `after` the first at which it is not.
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
    while high - low > (1.0 if whole else TOLERANCE * abs(high)):
        points = np.linspace(low, high, SECTIONS + 1)[1:]
        if whole:
            points = np.unique(np.round(points))
        points = points[points > low]
        is_changed = condition(points) != held[0]
        # Rounding may put the end of the bracket itself on the other side.
        is_changed[-1] = True
        found = int(is_changed.argmax())
        narrowed = (low if found == 0 else float(points[found - 1])), float(points[found])
        if narrowed == (low, high):
            break
        low, high = narrowed
    return Edge(before=low, after=high)
