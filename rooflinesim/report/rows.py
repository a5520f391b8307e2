"""Columns of a grid as files: CSV and Parquet, whole or in parts that join into a whole."""

import io
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from rooflinesim.analysis.distinct import distinct_values
from rooflinesim.analysis.grid import Column, Columns, Labels
from rooflinesim.errors import FileError, UnsupportedError

if TYPE_CHECKING:
    import pyarrow as pa

RowFormat = Literal["csv", "parquet"]
SUFFIXES: Mapping[str, RowFormat] = {".csv": "csv", ".parquet": "parquet"}
_BLOCK_ROWS = 8192


def row_format(path: Path) -> RowFormat:
    """The format that a file's suffix names.

    Raises
    ------
    FileError : if it names none.
    """
    found = SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise FileError(f"{path}: no known suffix; name the file .csv or .parquet")
    return found


def encoded(columns: Columns, form: RowFormat) -> bytes:
    """A part of a file: CSV without its header, or Parquet of one row group."""
    return csv_rows(columns).encode() if form == "csv" else parquet_bytes(columns)


def csv_header(names: Iterable[str]) -> str:
    """First line of a CSV file."""
    return ",".join(names) + "\n"


def csv_rows(columns: Columns) -> str:
    """Lines of CSV: numbers as short as they read back equal, words quoted where they must be, unknown ones empty."""
    cells = [_cells(column) for column in columns.values()]
    return "".join(f"{','.join(row)}\n" for row in zip(*cells, strict=True))


def _cells(column: Column) -> list[str]:
    if isinstance(column, Labels):
        words = np.array([*(_word(name) for name in column.names), ""], dtype=object)
        listed: list[str] = words[column.codes].tolist()
        return listed
    if column.dtype.kind == "f":
        return [repr(value) if math.isfinite(value) else "" for value in column.tolist()]
    # Counts repeat: each is written once.
    values, place = distinct_values(column) if column.size else (column, column)
    texts: list[str] = np.array(list(map(str, values.tolist())), dtype=object)[place].tolist()
    return texts


def _word(name: Any) -> str:
    if isinstance(name, bool):
        return str(name).lower()
    text = str(name)
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"\r\n') else text


def arrow() -> Any:
    """The library that writes Parquet.

    Raises
    ------
    UnsupportedError : if it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UnsupportedError(
            "Parquet needs the optional pyarrow: pip install 'rooflinesim[parquet]'; or name the file .csv"
        ) from None
    return pyarrow


def parquet_bytes(columns: Columns) -> bytes:
    """Parquet of one row group."""
    pa = arrow()
    table = pa.table({name: _array(column) for name, column in columns.items()})
    sink = pa.BufferOutputStream()
    with _writer(sink, table.schema) as writer:
        writer.write_table(table, row_group_size=max(table.num_rows, 1))
    return bytes(sink.getvalue())


def _writer(sink: Any, schema: "pa.Schema") -> Any:
    """Writer whose bytes depend on its rows alone.

    Doubles that were computed hardly repeat: a dictionary of them would cost time and save nothing. Words are kept
    as codes, but read back as plain words.
    """
    pa = arrow()
    words = [field.name for field in schema if not pa.types.is_floating(field.type)]
    return pa.parquet.ParquetWriter(sink, schema, use_dictionary=words, compression="snappy", store_schema=False)


def _array(column: Column) -> Any:
    pa = arrow()
    if isinstance(column, Labels):
        unknown = column.codes < 0
        mask = unknown if unknown.any() else None
        if column.names == (False, True):
            return pa.array(column.codes == 1, mask=mask)
        return pa.DictionaryArray.from_arrays(pa.array(column.codes.astype(np.int32), mask=mask), list(column.names))
    if column.dtype.kind == "f":
        finite = np.isfinite(column)
        return pa.array(column, mask=None if finite.all() else ~finite)
    return pa.array(column)


class Joint(Protocol):
    """A whole file in the making, to which parts are added one after another."""

    def add(self, part: Path) -> None:
        """Add the rows of a part."""

    def close(self) -> None:
        """Write what is left."""


class CsvJoint:
    """A CSV file: a header, then the bytes of its parts."""

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        self._file: IO[bytes] = path.open("wb")
        self._file.write(csv_header(names).encode())

    def add(self, part: Path) -> None:
        """Add the rows of a part."""
        import shutil

        with part.open("rb") as rows:
            shutil.copyfileobj(rows, self._file, 1 << 20)

    def close(self) -> None:
        """Write what is left."""
        self._file.close()


class ParquetJoint:
    """A Parquet file: each part of at least one row is a row group."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] = path.open("wb")
        self._writer: Any = None

    def add(self, part: Path) -> None:
        """Add the rows of a part."""
        pa = arrow()
        with pa.parquet.ParquetFile(part) as rows:
            words = [field.name for field in rows.schema_arrow if pa.types.is_string(field.type)]
        table = pa.parquet.read_table(part, read_dictionary=words, use_threads=False, partitioning=None)
        if self._writer is None:
            self._writer = _writer(self._file, table.schema)
        if table.num_rows:
            self._writer.write_table(table, row_group_size=table.num_rows)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
        self._file.close()


def joint(path: Path, form: RowFormat, names: Iterable[str]) -> Joint:
    """A whole file in the making at a path."""
    return CsvJoint(path, names) if form == "csv" else ParquetJoint(path)


def packed(columns: Columns) -> bytes:
    """Columns as bytes from which they come back exactly."""
    arrays: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        arrays[name] = column.codes if isinstance(column, Labels) else column
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def unpacked(path: Path, like: Mapping[str, tuple[Any, ...] | None]) -> dict[str, Column]:
    """Columns that were packed into a file; `like` gives the names behind the codes of each column that has some."""
    columns: dict[str, Column] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name, names in like.items():
            columns[name] = arrays[name] if names is None else Labels(codes=arrays[name], names=names)
    return columns


def row_records(columns: Columns) -> Iterator[dict[str, Any]]:
    """One mapping per row, of plain Python values; None where unknown."""
    plain = {name: plain_values(column) for name, column in columns.items()}
    for row in zip(*plain.values(), strict=True):
        yield dict(zip(plain, row, strict=True))


def plain_values(column: Column) -> list[Any]:
    """Values of a column as Python has them; None where unknown."""
    if isinstance(column, Labels):
        names = (*column.names, None)
        return [names[code] for code in column.codes.tolist()]
    values: list[Any] = column.tolist()
    return values
