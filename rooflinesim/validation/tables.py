"""Files of measurements: told apart by their columns, read whole, bad rows counted with their reasons."""

import csv
import dataclasses
import difflib
import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from rooflinesim.analysis.comparison import Skipped
from rooflinesim.errors import FileError
from rooflinesim.nouns import Noun

TableKind = Literal[
    "deployments",
    "speculation",
    "serving",
    "gemm",
    "decode_attention",
    "context_attention",
    "moe",
    "collectives",
    "mlp",
    "own",
]

COLUMNS: Mapping[TableKind, tuple[str, ...]] = {
    "deployments": (
        "id", "source", "gpu", "n_gpus", "parallelism", "engine", "model", "weight_dtype", "kv_dtype",
        "batch_or_concurrency", "prompt_len", "output_len", "context_len_mean", "metric", "value", "kind",
    ),
    "speculation": ("id", "source", "gpu", "target", "draft_or_method", "gamma_or_tree", "measured_speedup"),
    "serving": ("id", "backend", "model_path", "gpu", "precision", "isl", "osl", "ttft_ms", "tpot_ms"),
    "gemm": ("gpu", "dtype", "m", "n", "k"),
    "context_attention": ("gpu", "framework", "batch", "num_heads", "q_len", "past_kv_len", "latency_us"),
    "decode_attention": ("gpu", "framework", "batch", "num_heads", "kv_len", "latency_us"),
    "moe": ("gpu", "framework", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "latency_us"),
    "collectives": ("gpu", "library", "op", "num_gpus", "message_bytes", "latency_us"),
    "mlp": ("gpu", "op", "tp", "num_tokens", "median_us"),
    "own": ("id", "group", "measured", "predicted", "low", "high", "unit"),
}  # fmt: skip
"""Columns by which each kind of file is recognised."""

KERNEL_KINDS: tuple[TableKind, ...] = ("gemm", "decode_attention", "context_attention", "moe", "collectives", "mlp")

MAXIMUM_BYTES = 200_000_000


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Table(Noun):
    """Rows of one file of measurements as text by column, and those that cannot be used."""

    kind: TableKind
    path: Path
    rows: tuple[Mapping[str, str], ...]
    skipped: tuple[Skipped, ...]
    unknown_columns: tuple[str, ...] = ()


def kind_of_columns(columns: Sequence[str], place: str) -> TableKind:
    """Kind of a file of measurements with these columns.

    Raises
    ------
    FileError : if they fit no kind, with what is missing of the nearest.
    """
    given = {column.strip() for column in columns}
    for kind, needed in COLUMNS.items():
        if given.issuperset(needed):
            return kind
    nearest = max(COLUMNS, key=lambda kind: len(given & set(COLUMNS[kind])) / len(COLUMNS[kind]))
    missing = [column for column in COLUMNS[nearest] if column not in given]
    close = {column: difflib.get_close_matches(column, given, 1) for column in missing}
    hints = [f"is {found[0]!r} meant as {column!r}?" for column, found in close.items() if found]
    hint = f" ({' '.join(hints)})" if hints else ""
    raise FileError(
        f"{place}: fits no kind of measurements ({', '.join(COLUMNS)}); nearest is {nearest}, which also needs the"
        f" columns {', '.join(missing)}{hint}"
    )


def open_text(path: Path) -> Iterator[str]:
    """Lines of a text file, which may be gzipped.

    Raises
    ------
    FileError : if it cannot be read, or is too large.
    """
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise FileError(f"{path}: larger than {MAXIMUM_BYTES // 1_000_000} MB; split it")
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield from file
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise FileError(f"{path}: cannot be read as text: {reason}; give a CSV file, gzipped or not") from None


def header_of(path: Path) -> tuple[str, ...]:
    """Column names of a file.

    Raises
    ------
    FileError : if it is empty.
    """
    columns = tuple(name.strip() for name in next(csv.reader(open_text(path)), []))
    if not columns:
        raise FileError(f"{path}: is empty; the first line must name the columns")
    return columns


def read_table(path: Path) -> Table:
    """Rows of a file; those whose id was there before, or whose cells do not match the header, are skipped.

    Raises
    ------
    FileError : if the file cannot be read or fits no kind.
    """
    if path.name.removesuffix(".gz").endswith(".json"):
        return _run_table(path)
    columns = header_of(path)
    kind = kind_of_columns(columns, path.name)
    lines = csv.reader(open_text(path))
    next(lines)
    rows: list[Mapping[str, str]] = []
    skipped: list[Skipped] = []
    seen: set[str] = set()
    try:
        for number, cells in enumerate(lines, start=2):
            if not cells:
                continue
            row = dict(zip(columns, cells, strict=False))
            name = row.get("id", "").strip() or f"{path.name}:{number}"
            if len(cells) != len(columns):
                skipped.append(Skipped(id=name, reason=f"{len(cells)} cells for {len(columns)} columns"))
            elif name in seen:
                skipped.append(Skipped(id=name, reason="the id stands twice"))
            else:
                seen.add(name)
                rows.append({**row, "id": name})
    except csv.Error as error:
        raise FileError(f"{path}: not readable as CSV: {error}") from None
    if not rows and not skipped:
        raise FileError(f"{path}: has no rows below its header")
    known = set(COLUMNS[kind]) | {"year", "notes"}
    unknown = tuple(name for name in columns if name not in known) if kind == "deployments" else ()
    return Table(kind=kind, path=path, rows=tuple(rows), skipped=tuple(skipped), unknown_columns=unknown)


def _run_table(path: Path) -> Table:
    """Rows of a run that `validate -o` wrote as JSON, as text like those of a CSV file."""
    try:
        content = json.loads("".join(open_text(path)))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: not readable as JSON: {str(error)[:80]}; give what validate -o wrote") from None
    rows = content.get("rows") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise FileError(f"{path}: holds no rows of a run; give what validate -o wrote")
    kind = kind_of_columns(tuple(rows[0]), path.name)
    skipped = content.get("skipped")
    return Table(
        kind=kind,
        path=path,
        rows=tuple({str(key): "" if value is None else str(value) for key, value in row.items()} for row in rows),
        skipped=tuple(
            Skipped(id=str(one.get("id", "-")), reason=str(one.get("reason", "-")))
            for one in (skipped if isinstance(skipped, list) else ())
            if isinstance(one, dict)
        ),
    )


def number(text: str | None) -> float | None:
    """A number of a cell; None where the cell is empty or holds none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
