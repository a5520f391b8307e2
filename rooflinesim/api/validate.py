"""How far are predictions from recorded measurements?"""

import importlib.resources
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rooflinesim import __version__
from rooflinesim.analysis.comparison import Comparison, Skipped, joined, reasons, sampled, scores
from rooflinesim.api.measured import compared, model_name
from rooflinesim.api.measured_kernels import compared_kernels
from rooflinesim.api.measured_speculation import compared_speculation
from rooflinesim.api.served_throughput import with_throughput
from rooflinesim.errors import DomainError, UnsupportedError
from rooflinesim.report import validation as report
from rooflinesim.report.answer import Answer
from rooflinesim.specs.stack import Stack
from rooflinesim.validation.own_runs import own_comparison
from rooflinesim.validation.published import MeasuredRun, measured_runs
from rooflinesim.validation.published_serving import serving_runs
from rooflinesim.validation.speedups import rule_errors
from rooflinesim.validation.tables import Table, read_table

PUBLISHED = "published"
"""Name under which the table that comes with the package is asked for."""

Progress = Callable[[int, int], None]


def validate(
    *,
    against: Sequence[str | Path],
    by: Sequence[str] = (),
    limit: int | None = None,
    stack: Stack | None = None,
    progress: Progress | None = None,
) -> Answer:
    """Predictions beside recorded measurements, row by row, and how far apart they are by group.

    Parameters
    ----------
    against : files of measurements, or "published" for the table that comes with the package
    by : columns whose values tell groups apart; by default the kind of file and its ranges
    limit : rows of each file that are taken at most, drawn with a fixed seed. [1] None takes all
    stack : predicts every row in place of the stack that its engine stands for
    progress : told how many files of how many are done

    Raises
    ------
    FileError : if a file cannot be read or fits no kind of measurements.
    DomainError : if no row has a column of `by`.
    UnsupportedError : if no row can be predicted.
    """
    parts, notes = [], []
    for done, name in enumerate(against):
        table = read_table(_path(name))
        parts.append(compared_table(table, limit=limit, stack=stack))
        if table.unknown_columns:
            notes.append(f"{table.path.name}: columns that mean nothing here: {', '.join(table.unknown_columns)}")
        if progress:
            progress(done + 1, len(against))
    found = joined(parts)
    if not found.measured.size:
        raise UnsupportedError(f"no row can be predicted: {reasons(found.skipped)}")
    columns = tuple(by) or ("table", "regime")
    for name in columns:
        if name not in found.labels:
            raise DomainError(f"--by: no file has a column {name!r}; there are {', '.join(sorted(found.labels))}")
    found_scores = scores(found, columns)
    content = report.validation_content(found, found_scores, columns)
    rules = rule_errors(found)
    return Answer(
        command="validate",
        version=__version__,
        result=found,
        columns=content["columns"],
        describe_inputs=lambda: _inputs(against, columns, limit, stack),
        provenance=(),
        summary={**content["summary"], **rules},
        notes=[*notes, *content["notes"], *report.rule_notes(rules)],
        views=report.validation_views(found, found_scores),
        extra={"skipped": content["skipped"]},
    )


def _path(name: str | Path) -> Path:
    if str(name) != PUBLISHED:
        return Path(name)
    return Path(str(importlib.resources.files("rooflinesim.validation") / "published.csv"))


def _inputs(
    against: Sequence[str | Path], by: Sequence[str], limit: int | None, stack: Stack | None
) -> Mapping[str, Any]:
    return {
        "against": [str(one) for one in against],
        "by": list(by),
        "limit": limit,
        "stack": stack.name if stack else None,
    }


def compared_table(table: Table, *, limit: int | None = None, stack: Stack | None = None) -> Comparison:
    """Predicted beside measured for the rows of one file of measurements, whatever its kind."""
    match table.kind:
        case "deployments":
            found = _of_runs(*measured_runs(table), limit=limit, stack=stack)
        case "serving":
            runs, bad = serving_runs(table, model_name)
            found = with_throughput(_of_runs(runs, bad, limit=limit, stack=stack), runs)
        case "own":
            found = own_comparison(table, limit)
        case "speculation":
            found = compared_speculation(table, limit=limit, stack=stack)
        case _:
            found = compared_kernels(table, limit=limit, stack=stack)
    labels = dict(found.labels)
    labels["table"] = np.full(found.ids.size, table.kind, dtype=object)
    labels.setdefault("unit", np.full(found.ids.size, "s", dtype=object))
    return found.with_labels(labels)


def _of_runs(
    runs: Sequence[MeasuredRun], bad: Sequence[Skipped], *, limit: int | None, stack: Stack | None
) -> Comparison:
    chosen = [runs[index] for index in sampled(len(runs), limit)]
    found = compared(chosen, stack)
    return found.with_skipped((*bad, *found.skipped))
