"""Which rows does a sweep over a grid have? Chunk by chunk, each on its own, so that they can be made anywhere."""

import dataclasses

from rooflinesim.analysis.grid import Chunk, Grid, Labels, chunk_columns, column_names, joined
from rooflinesim.analysis.selection import (
    admitted,
    best,
    known_column,
    parsed,
    rises,
    rows_at,
    without_excluded,
)
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun

MAXIMUM_POINTS = 10_000_000_000
"""Points that one sweep evaluates for a file of all: hours on one machine. A filter on an axis takes points away
beforehand."""

MAXIMUM_TOP_POINTS = 10_000_000_000_000
"""Points that one sweep evaluates for the best of them, which are few: a day on many machines."""

MAXIMUM_TOP_CHUNKS = 65_536
"""Chunks among which the best are looked for; larger ones are gone through piece by piece."""

MAXIMUM_TOP = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Sweep(Noun):
    """Rows of a grid: those that `admits` lets through (all), of these the `top` best by a column (all).

    `fields` are the columns that are kept. With `largest` the best have most of the column.
    """

    grid: Grid
    fields: tuple[str, ...]
    admits: str | None = None
    top: int | None = None
    by: str | None = None
    largest: bool = False
    chunk_points: int

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.grid.points // self.chunk_points)


def sweep_of(
    grid: Grid,
    *,
    fields: tuple[str, ...] | None = None,
    admits: str | None = None,
    top: int | None = None,
    by: str | None = None,
    chunk_points: int | None = None,
) -> Sweep:
    """A sweep over a grid, without the axis values that the filter excludes.

    Parameters
    ----------
    fields : columns to keep; None keeps all
    admits : expression over the columns, such as "fits and step_time_s < 0.05"
    top : rows to keep, the best by a column. [1] >= 1
    by : that column: of times and bytes the smallest are best, of rates and counts the largest; a sign before it,
       as in -step_time_s or +step_time_s, asks for the largest or the smallest
    chunk_points : points evaluated together; None is what suits the question. [1] >= 1

    Raises
    ------
    DomainError : if a column is unknown, the filter is none, or the grid has too many points.
    """
    names = column_names(grid)
    kept = names if fields is None else tuple(dict.fromkeys(known_column(one, names, "--fields") for one in fields))
    if not kept:
        raise DomainError("--fields: names no column; leave it out to keep all")
    if admits is not None:
        grid = without_excluded(grid, parsed(admits, names))
    if (top is None) != (by is None):
        raise DomainError("--top and --by go together: --top 10 --by tokens_per_s")
    largest = False
    if top is not None and by is not None:
        if not 1 <= top <= MAXIMUM_TOP:
            raise DomainError(f"--top: {top:,} rows; it keeps 1 to {MAXIMUM_TOP:,}")
        by, largest = _direction(by, names)
    most = MAXIMUM_POINTS if top is None else MAXIMUM_TOP_POINTS
    if grid.points > most:
        instead = ", or keep the best with --top N --by FIELD" if top is None else ""
        raise DomainError(
            f"the grid has {grid.points:,} points; one sweep evaluates at most {most:,}: give shorter axes"
            f" ({axes_line(grid)}), exclude values of an axis with --filter{instead}"
        )
    chunk_points = chunk_points or grid.asked.chunk_points
    if top is not None:
        chunk_points *= max(1, -(-grid.points // (chunk_points * MAXIMUM_TOP_CHUNKS)))
    return Sweep(grid=grid, fields=kept, admits=admits, top=top, by=by, largest=largest, chunk_points=chunk_points)


def _direction(by: str, names: tuple[str, ...]) -> tuple[str, bool]:
    """Column that a sweep is ordered by, and whether its largest values come first."""
    field = known_column(by.lstrip("+-"), names, "--by")
    return field, by.startswith("-") if by[0] in "+-" else rises(field)


def axes_line(grid: Grid) -> str:
    """The axes of more than one value, with their lengths."""
    return " x ".join(f"{len(values):,} {name}" for name, values in grid.varying.items()) or "one point"


def chunk(sweep: Sweep, index: int) -> Chunk:
    """Rows of one chunk of a sweep; with `top` at most that many, best first."""
    start = index * sweep.chunk_points
    stop = min(start + sweep.chunk_points, sweep.grid.points)
    piece = sweep.grid.asked.chunk_points
    found = rows_between(sweep, start, min(start + piece, stop))
    for first in range(start + piece, stop, piece):
        more = rows_between(sweep, first, min(first + piece, stop))
        found = _both(sweep, found, more)
    return found


def _both(sweep: Sweep, first: Chunk, second: Chunk) -> Chunk:
    """Rows of two parts of a grid, of those with `top` the best."""
    columns = {name: joined([first.columns[name], second.columns[name]]) for name in first.columns}
    if sweep.top is not None and sweep.by is not None:
        columns = best(columns, sweep.by, sweep.top, largest=sweep.largest)
    return Chunk(columns=columns, rejected={**first.rejected, **second.rejected})


def rows_between(sweep: Sweep, start: int, stop: int) -> Chunk:
    """Rows among the points from `start` up to, but not with, `stop`."""
    whole = chunk_columns(sweep.grid, start, stop)
    columns = dict(whole.columns)
    if sweep.admits is not None:
        columns = rows_at(columns, admitted(parsed(sweep.admits, columns), columns))
    if sweep.top is not None and sweep.by is not None:
        columns = best(columns, sweep.by, sweep.top, largest=sweep.largest)
        if sweep.by not in sweep.fields:
            # What later decides between the best of several chunks.
            return Chunk(columns={name: columns[name] for name in (*sweep.fields, sweep.by)}, rejected=whole.rejected)
    return Chunk(columns={name: columns[name] for name in sweep.fields}, rejected=whole.rejected)


def row_count(part: Chunk) -> int:
    """Number of rows of a chunk."""
    first = next(iter(part.columns.values()))
    return int(first.codes.size if isinstance(first, Labels) else first.size)
