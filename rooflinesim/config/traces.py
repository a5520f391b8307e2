"""Traces of requests: CSV files whose every row is checked before anything is simulated."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rooflinesim.analysis.serving.arrivals import Requests, requests_of
from rooflinesim.config.files import read_text
from rooflinesim.errors import FileError

COLUMNS = ("arrived_at", "num_prefill_tokens", "num_decode_tokens")
"""Columns of a trace: seconds from its start, and tokens of prompt and output."""

MOST_TOKENS = 1_000_000
"""Tokens from which on a length is taken for a mistake."""

MAXIMUM_BYTES = 200_000_000
_SHOWN = 5


def load_trace(path: str | Path, cached_share: float = 0.0) -> Requests:
    """Requests of a trace, in order of arrival.

    Raises
    ------
    FileError : if the file cannot be read, or with the first rows that are wrong, one line each.
    """
    path = Path(path)
    reader = csv.DictReader(io.StringIO(read_text(path, limit=MAXIMUM_BYTES)))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise FileError(f"{path.name}: column {missing[0]} is missing; a trace has the columns {', '.join(COLUMNS)}")
    problems: list[str] = []
    rows: list[tuple[float, ...]] = []
    earlier = -np.inf
    try:
        for number, row in enumerate(reader, start=2):
            found, wrong = _row(row, earlier)
            problems.extend(f"{path.name}: row {number}: {one}" for one in wrong)
            rows.append(found)
            earlier = max(earlier, found[0])
    except csv.Error as error:
        raise FileError(f"{path.name}: row {reader.line_num}: {error}; save it as plain CSV") from None
    if problems:
        rest = [f"{path.name}: {len(problems) - _SHOWN:,} more such problems"] if len(problems) > _SHOWN else []
        raise FileError("\n".join([*problems[:_SHOWN], *rest]))
    if not rows:
        raise FileError(f"{path.name}: holds no request; give at least one row")
    arrived, prompt, output = np.array(rows).T
    return requests_of(arrived - arrived[0], prompt, output, cached_share)


def _row(row: dict[str, str | None], earlier: float) -> tuple[tuple[float, float, float], list[str]]:
    """Numbers of one row, and what is wrong with it."""
    values: list[float] = []
    wrong: list[str] = []
    for name in COLUMNS:
        text = (row[name] or "").strip()
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        values.append(value)
        if not np.isfinite(value):
            what = f"{text!r} is no finite number" if text else "is empty"
            wrong.append(f"{name} {what}; give a number or leave the row out")
    if not wrong:
        wrong.extend(_range(values, earlier))
    return (values[0], values[1], values[2]), wrong


def _range(values: list[float], earlier: float) -> Iterator[str]:
    arrived, *lengths = values
    if arrived < 0:
        yield f"arrived_at is {arrived:g}; times start at 0"
    elif arrived < earlier:
        yield f"arrived_at is {arrived:g}, before the {earlier:g} of an earlier row; sort the rows by arrived_at"
    for name, tokens in zip(COLUMNS[1:], lengths, strict=True):
        if tokens < 1 or tokens != int(tokens):
            yield f"{name} is {tokens:g}; give a whole number of at least 1, or leave the row out"
        elif tokens >= MOST_TOKENS:
            yield f"{name} is {tokens:,.0f}; lengths from {MOST_TOKENS:,} on are taken for mistakes: leave the row out"
