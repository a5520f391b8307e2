"""A grid to a file: planned, made chunk by chunk on any number of workers, joined, and named at the end."""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rooflinesim import __version__
from rooflinesim.analysis.grid import (
    Chunk,
    Columns,
    Labels,
    joined,
    label_names,
    no_rows,
    rejections,
)
from rooflinesim.analysis.selection import best
from rooflinesim.analysis.sweep import Sweep, axes_line, chunk, row_count, rows_between, sweep_of
from rooflinesim.api import scheduling
from rooflinesim.api.scenarios import grid_of, grid_question
from rooflinesim.config.scenarios import named
from rooflinesim.errors import DomainError, FileError
from rooflinesim.nouns import Noun
from rooflinesim.report import part_files
from rooflinesim.report.part_files import Parts
from rooflinesim.report.rows import Joint, RowFormat, arrow, csv_header, encoded, joint, packed, row_format, unpacked
from rooflinesim.report.sweep_file import SweepFile
from rooflinesim.specs.scenario import Scenario
from rooflinesim.units import format_quantity

SAMPLES_PER_CHUNK = 16
"""Samples that are as large as one chunk together."""
SAMPLES = 3
POOL_CHUNKS = 3
"""Chunks from which on starting worker processes takes less time than it saves."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SweepPlan(Noun):
    """A sweep that is about to be written: what, where to, in which form, and about how large it will be [B].

    `expected_time` is about what it takes on one core [s]; both are None where no point of the grid can be.
    """

    sweep: Sweep
    parts: Parts
    form: RowFormat
    is_folder: bool
    manifest: Mapping[str, Any]
    expected_bytes: float | None
    expected_time: float | None
    notes: tuple[str, ...]

    def line(self, workers: int | None) -> str:
        """What is about to be made, in one line."""
        workers = workers or scheduling.core_count()
        grid = self.sweep.grid
        words = f"{grid.points:,} points ({axes_line(grid)}), {len(self.sweep.fields)} fields"
        if self.expected_bytes is None or self.expected_time is None:
            return words
        most = "at most " if self.sweep.admits or self.sweep.top else "about "
        return (
            f"{words}: {most}{format_quantity(self.expected_bytes, 'B', 2)} of {self.form},"
            f" about {format_quantity(self.expected_time / workers, 's', 2)} on {workers} cores{self._kept}"
        )

    @property
    def _kept(self) -> str:
        """What an interrupted sweep of the same file has left."""
        kept = part_files.kept_count(self.parts, self.manifest)
        return f"; {kept:,} of {self.sweep.chunks:,} chunks are there from before" if kept else ""


def sweep(
    *,
    scenario: Scenario,
    output: str | Path,
    admits: str | None = None,
    top: int | None = None,
    by: str | None = None,
    fields: Sequence[str] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
) -> SweepFile:
    """Every point that a scenario names, to a CSV or Parquet file; an interrupted one is taken up again.

    Scripts that ask for several workers need the usual ``if __name__ == "__main__":``.

    Parameters
    ----------
    output : file that ends in .csv or .parquet; with a scheduler .parquet is a folder of parts
    admits, top, by, fields : see `analysis.sweep.sweep_of`
    workers : processes on this machine; None takes all cores
    scheduler : address of a Dask scheduler, or "local"

    Raises
    ------
    RooflinesimError : if the scenario, a column, the size of the grid or the output is at fault.
    """
    planned = sweep_plan(
        scenario=scenario, output=Path(output), admits=admits, top=top, by=by, fields=fields, scheduler=scheduler
    )
    return written(planned, workers=workers, scheduler=scheduler)


def sweep_plan(
    *,
    scenario: Scenario,
    output: Path,
    admits: str | None = None,
    top: int | None = None,
    by: str | None = None,
    fields: Sequence[str] | None = None,
    scheduler: str | None = None,
    chunk_points: int | None = None,
) -> SweepPlan:
    """What a sweep will make, checked as far as can be before the first chunk.

    Raises
    ------
    RooflinesimError : if the scenario, a column, the size of the grid or the output is at fault.
    """
    form = row_format(output)
    if output.is_dir() and not (scheduler and form == "parquet"):
        raise FileError(f"{output}: this is a directory; name a file")
    if not output.absolute().parent.is_dir():
        raise FileError(f"{output}: there is no folder {output.absolute().parent}; make it, or name another file")
    question, notes = grid_question(scenario)
    nouns = named(scenario)
    grid = grid_of(scenario, nouns, question)
    asked = sweep_of(
        grid,
        fields=None if fields is None else tuple(fields),
        admits=admits,
        top=top,
        by=by,
        chunk_points=chunk_points,
    )
    sample, expected_time = _sample(asked, form)
    expected = None if sample is None else _expected_bytes(asked, sample, form)
    _check_room(asked, output, form, expected)
    is_folder = form == "parquet" and scheduler is not None and top is None
    return SweepPlan(
        sweep=asked,
        parts=Parts(output=output.absolute(), suffix=".npz" if top else f".{form}"),
        form=form,
        is_folder=is_folder,
        manifest=_manifest(scenario, asked, form, is_folder, nouns.paths),
        expected_bytes=expected,
        expected_time=expected_time,
        notes=(*nouns.notes, *notes),
    )


def _sample(asked: Sweep, form: RowFormat) -> tuple[Chunk | None, float | None]:
    """The first rows of the first deployment that can be, unfiltered, and about what the whole grid takes [s]."""
    plain = dataclasses.replace(asked, admits=None, top=None, by=None)
    each, size = asked.grid.points_each, asked.grid.asked.chunk_points // SAMPLES_PER_CHUNK
    for place in range(min(asked.grid.deployments, 100)):
        first = place * each
        found = rows_between(plain, first, first + min(each, size))
        if row_count(found):
            times = []
            for _ in range(SAMPLES):
                start = time.perf_counter()
                encoded(rows_between(plain, first, first + min(each, size)).columns, form)
                times.append(time.perf_counter() - start)
            return found, min(times) * asked.grid.points / row_count(found)
    return None, None


def _expected_bytes(asked: Sweep, sample: Chunk, form: RowFormat) -> float:
    """About what the rows of a sweep take in a file [B]."""
    rows = row_count(sample)
    none = {
        name: Labels(codes=column.codes[:0], names=column.names) if isinstance(column, Labels) else column[:0]
        for name, column in sample.columns.items()
    }
    per_row = (len(encoded(sample.columns, form)) - len(encoded(none, form))) / rows
    return per_row * (asked.grid.points if asked.top is None else min(asked.top, asked.grid.points))


def _check_room(asked: Sweep, output: Path, form: RowFormat, expected: float | None) -> None:
    """Refuse a sweep whose parts and whole do not both fit on the disk; a filter may make it as small as it likes."""
    if expected is None or asked.admits is not None:
        return
    free = shutil.disk_usage(output.absolute().parent).free
    if 2.0 * expected > free:
        fits = int(asked.grid.points * free / (2.0 * expected))
        raise DomainError(
            f"{asked.grid.points:,} points take about {format_quantity(expected, 'B', 3)} of {form}, twice that while"
            f" parts are joined, but {format_quantity(free, 'B', 3)} are free; {fits:,} would fit: give shorter axes"
            f" ({axes_line(asked.grid)}), or keep less with --filter, --top or --fields"
        )


def _manifest(
    scenario: Scenario, asked: Sweep, form: RowFormat, is_folder: bool, paths: Mapping[str, str]
) -> dict[str, Any]:
    """What a sweep's file holds and what it rests on: equal for equal bytes."""
    writer = "rooflinesim"
    if form == "parquet":
        writer = f"pyarrow {arrow().__version__}"
    return {
        "schema": "rooflinesim/sweep/1",
        "version": __version__,
        "scenario": scenario.name,
        "question": asked.grid.asked.question,
        "inputs_hash": hashlib.sha256(repr(asked).encode()).hexdigest(),
        "paths": dict(paths),
        "axes": {name: {"values": len(values)} | _ends(values) for name, values in asked.grid.varying.items()},
        "points": asked.grid.points,
        "chunk_points": asked.chunk_points,
        "filter": asked.admits,
        "top": asked.top,
        "by": asked.by,
        "fields": list(asked.fields),
        "format": form,
        "is_partitioned": is_folder,
        "writer": writer,
    }


def _ends(values: Sequence[Any]) -> dict[str, Any]:
    return {"first": values[0], "last": values[-1]}


def written(
    planned: SweepPlan,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    advanced: Callable[[int], None] = lambda _: None,
) -> SweepFile:
    """Make a planned sweep: the chunks that are not there yet, then the whole file.

    `advanced` is told each number of points that is there.
    """
    asked, parts = planned.sweep, planned.parts
    with part_files.opened(parts, planned.manifest):
        missing = [index for index in range(asked.chunks) if parts.note(index) is None]
        if len(missing) < asked.chunks:
            advanced((asked.chunks - len(missing)) * asked.chunk_points)
        making = _made(planned, missing, workers or scheduling.core_count(), scheduler)
        return _joined(planned, making, advanced)


def _made(planned: SweepPlan, missing: Sequence[int], workers: int, scheduler: str | None) -> Iterator[int]:
    """Indices of the missing chunks, each once it is kept."""
    if scheduler is not None and missing:
        task = functools.partial(made_chunk, planned.sweep, planned.form)
        for index, (data, note) in scheduling.on_dask(task, missing, scheduler):
            planned.parts.keep(index, data, note)
            yield index
        return
    keep = functools.partial(kept_chunk, planned.sweep, planned.form, planned.parts)
    if len(missing) < POOL_CHUNKS or workers < 2:
        done: Iterable[tuple[int, None]] = scheduling.here(keep, missing)
    else:
        done = scheduling.on_cores(keep, missing, workers)
    for index, _ in done:
        yield index


def made_chunk(asked: Sweep, form: RowFormat, index: int) -> tuple[bytes, dict[str, Any]]:
    """A chunk as bytes, and what is known about it."""
    found = chunk(asked, index)
    data = packed(found.columns) if asked.top is not None else encoded(found.columns, form)
    return data, {"rows": row_count(found), "rejected": found.rejected}


def kept_chunk(asked: Sweep, form: RowFormat, parts: Parts, index: int) -> None:
    """Make a chunk and keep it."""
    parts.keep(index, *made_chunk(asked, form, index))


def _joined(planned: SweepPlan, making: Iterator[int], advanced: Callable[[int], None]) -> SweepFile:
    """The whole file, its parts joined in order while later ones are still being made."""
    asked, parts = planned.sweep, planned.parts
    draft = parts.folder / f"whole.{planned.form}"
    whole: Joint | Selected | None = Selected(asked) if asked.top is not None else None
    if whole is None and not planned.is_folder:
        whole = joint(draft, planned.form, asked.fields)
    notes: list[Mapping[str, Any]] = []
    try:
        for made in itertools.chain((None,), making):
            if made is not None:
                advanced(min(asked.chunk_points, asked.grid.points - made * asked.chunk_points))
            while len(notes) < asked.chunks and (note := parts.note(len(notes))) is not None:
                if whole is not None:
                    with part_files.said_plainly(parts.folder):
                        whole.add(parts.path(len(notes)))
                notes.append(note)
        rejected = {int(place): reason for note in notes for place, reason in note["rejected"].items()}
        if len(rejected) == asked.grid.deployments:
            shutil.rmtree(parts.folder)
            raise DomainError(f"none of the {len(rejected):,} deployments can be: {next(iter(rejected.values()))}")
    except BaseException:
        if whole is not None:
            with contextlib.suppress(Exception):
                whole.close()
        raise
    rows = sum(note["rows"] for note in notes)
    if isinstance(whole, Selected):
        rows = whole.write(draft, planned.form)
    elif whole is not None:
        with part_files.said_plainly(parts.folder):
            whole.close()
    return _finished(planned, draft, rows, rejected)


class Selected:
    """The best rows of the parts that were added."""

    def __init__(self, asked: Sweep) -> None:
        self._asked = asked
        kept = dict.fromkeys((*asked.fields, asked.by or asked.fields[0]))
        names, none = label_names(asked.grid), no_rows(asked.grid)
        self._like = {field: names.get(field) for field in kept}
        self._best: Columns = {field: none[field] for field in kept}

    def add(self, part: Path) -> None:
        """Take the rows of a part into account."""
        found = unpacked(part, self._like)
        together = {field: joined([self._best[field], found[field]]) for field in self._like}
        asked = self._asked
        if asked.top is not None and asked.by is not None:
            self._best = best(together, asked.by, asked.top, largest=asked.largest)

    def write(self, path: Path, form: RowFormat) -> int:
        """Write the best rows to a file; gives how many there are."""
        columns = {field: self._best[field] for field in self._asked.fields}
        header = csv_header(columns).encode() if form == "csv" else b""
        with part_files.said_plainly(path.parent):
            part_files.write_whole(path, header + encoded(columns, form))
        return row_count(Chunk(columns=columns, rejected={}))

    def close(self) -> None:
        """Nothing is open."""


def _finished(planned: SweepPlan, draft: Path, rows: int, rejected: Mapping[int, str]) -> SweepFile:
    """The sweep under its own name, its manifest beside it."""
    grid = planned.sweep.grid
    reasons = rejections(grid, rejected)
    manifest = {**planned.manifest, "rows": rows, "rejected": reasons}
    if planned.is_folder:
        part_files.finish_folder(planned.parts, manifest)
    else:
        part_files.finish_file(planned.parts, draft, manifest)
    return SweepFile(path=planned.parts.output, points=grid.points, rows=rows, rejected=reasons)
