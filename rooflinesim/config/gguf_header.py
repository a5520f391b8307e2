"""Headers of GGUF files: metadata and the list of tensors, read with bounds; no weight is touched.

The reader of the `gguf` package keeps an array per token and trusts announced counts; only its table of
block sizes is used here.
"""

import dataclasses
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path

from rooflinesim.config.stored_sizes import StoredTensor
from rooflinesim.errors import FileError, ProfileError, UnsupportedError

_VERSIONS = (2, 3)
_MAXIMUM_KEYS = 10_000
_MAXIMUM_TENSORS = 50_000
_MAXIMUM_NAME = 1024
_MAXIMUM_STRINGS = 2_000_000
_MAXIMUM_KEPT = 10_000
_MAXIMUM_TEXT = 4096
_MAXIMUM_DIMENSIONS = 8
_MAXIMUM_SIZE = 2**40
# Type number of a metadata value -> its struct code; 8 is text, 9 an array.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_PLAIN = {"f32": "fp32", "f16": "fp16", "f64": "fp64", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64"}
_OLDER = (b"ggml", b"ggjt", b"ggmf", b"lmgg", b"tjgg", b"fmgg")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongArray:
    """An array of the metadata that is skipped: only its length is known."""

    length: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """What a GGUF file says about itself; shapes of tensors are rows first, as elsewhere."""

    metadata: Mapping[str, object]
    tensors: tuple[StoredTensor, ...]
    missing_bytes: int


def read_header(path: Path) -> GgufHeader:
    """Metadata and tensors of a GGUF file.

    Raises
    ------
    FileError : if the file cannot be read, is no GGUF, or ends inside its header.
    ProfileError : if an entry is malformed, or announces more than a header can hold.
    UnsupportedError : if its version or a tensor's type is not known, or the package `gguf` is missing.
    """
    blocks = _block_sizes()
    if not path.is_file():
        raise FileError(f"{path}: {'no regular file' if path.exists() else 'no such file'}; give a .gguf file")
    try:
        with path.open("rb") as file:
            if path.stat().st_size < 24:
                raise FileError(f"{path.name}: {path.stat().st_size} bytes are too few for a GGUF file; fetch it again")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _header(_Cursor(data, path.name), blocks)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None


def _block_sizes() -> Mapping[int, tuple[str, int, int]]:
    """Number of a tensor type -> its name, the values in one block, and the block's bytes."""
    try:
        from gguf.constants import GGML_QUANT_SIZES
    except ImportError:
        what = "the sizes of its block types come from the package gguf"
        raise UnsupportedError(f"a GGUF file: {what}; pip install 'rooflinesim[gguf]'") from None
    return {int(kind): (kind.name.lower(), values, size) for kind, (values, size) in GGML_QUANT_SIZES.items()}


class _Cursor:
    """A place in the file that moves on with every value read, and never past the end."""

    def __init__(self, data: mmap.mmap, file: str) -> None:
        self.data, self.file, self.order = data, file, "<"
        self.position = 0
        self.size = len(data)
        self.strings = 0
        self.kept = 0

    def number(self, code: str, what: str) -> int | float | bool:
        """One number of a struct code."""
        size = struct.calcsize(f"={code}")
        start = self.skip(size, what)
        value: int | float | bool = struct.unpack_from(f"{self.order}{code}", self.data, start)[0]
        return value

    def count(self, code: str, what: str, limit: int) -> int:
        """A count that has a bound."""
        value = int(self.number(code, what))
        if value > limit:
            raise ProfileError([f"{self.file}: {what}: {value:,} is more than {limit:,}; fetch the file again"])
        return value

    def skip(self, size: int, what: str) -> int:
        """Move on by some bytes; where they start."""
        start = self.position
        if size > self.size - start:
            raise FileError(f"{self.file}: {what}: the file ends at byte {self.size:,} inside it; fetch it again")
        self.position += size
        return start

    def text(self, what: str, limit: int) -> str:
        """A text, cut after a limit."""
        length = int(self.number("Q", what))
        start = self.skip(length, f"{what} of {length:,} B")
        return self.data[start : start + min(length, limit)].decode("utf-8", errors="replace")

    def name(self, what: str) -> str:
        """A name of bounded length."""
        name = self.text(what, _MAXIMUM_NAME + 1)
        if len(name) > _MAXIMUM_NAME:
            raise ProfileError([f"{self.file}: {what}: a name above {_MAXIMUM_NAME:,} B is too long; fetch it again"])
        return name

    def value(self, kind: int, key: str) -> object:
        """A value of the metadata, whose key is quoted."""
        if kind == _TEXT:
            return self.text(key, _MAXIMUM_TEXT)
        if kind == _ARRAY:
            return self.array(key)
        if kind not in _SCALARS:
            raise ProfileError([f"{self.file}: {key}: value type {kind} is not known; fetch the file again"])
        return self.number(_SCALARS[kind], key)

    def array(self, key: str) -> object:
        """A short array of numbers; of others only the length is kept."""
        kind = int(self.number("I", key))
        length = int(self.number("Q", key))
        if kind == _TEXT:
            self._skip_texts(length, key)
            return LongArray(length=length)
        if kind not in _SCALARS:
            raise ProfileError([f"{self.file}: {key}: arrays of type {kind} are not read; fetch the file again"])
        size = struct.calcsize(f"={_SCALARS[kind]}")
        start = self.skip(length * size, f"{key} of {length:,} values")
        self.kept += length
        if length > _MAXIMUM_KEPT or self.kept > 100 * _MAXIMUM_KEPT:
            return LongArray(length=length)
        return list(struct.unpack_from(f"{self.order}{length}{_SCALARS[kind]}", self.data, start))

    def _skip_texts(self, length: int, key: str) -> None:
        self.strings += length
        if self.strings > _MAXIMUM_STRINGS or length * 8 > self.size - self.position:
            what = f"{length:,} texts are more than the file or {_MAXIMUM_STRINGS:,} can hold"
            raise ProfileError([f"{self.file}: {key}: {what}; fetch it again"])
        unpack, data, position, last = struct.Struct(f"{self.order}Q").unpack_from, self.data, self.position, self.size
        for _ in range(length):
            if position > last - 8:
                break
            position += 8 + unpack(data, position)[0]
        if position > last:
            raise FileError(f"{self.file}: {key}: the file ends at byte {last:,} inside it; fetch it again")
        self.position = position


def _header(cursor: _Cursor, blocks: Mapping[int, tuple[str, int, int]]) -> GgufHeader:
    magic = cursor.data[cursor.skip(4, "magic") : cursor.position]
    if magic != b"GGUF":
        hint = "an older format; convert it with llama.cpp" if magic in _OLDER else "give a .gguf file"
        raise FileError(f"{cursor.file}: magic: {magic!r} is not GGUF: {hint}")
    version = _version(cursor)
    tensor_count = cursor.count("Q", f"tensor count of version {version}", _MAXIMUM_TENSORS)
    key_count = cursor.count("Q", "metadata count", _MAXIMUM_KEYS)
    metadata: dict[str, object] = {}
    for index in range(key_count):
        key = cursor.name(f"metadata key {index}")
        if key in metadata:
            raise ProfileError([f"{cursor.file}: metadata: {key!r:.80} stands twice; write the file again"])
        metadata[key] = cursor.value(int(cursor.number("I", f"{key!r:.80}")), f"{key!r:.80}")
    listed = [_tensor(cursor, index, blocks) for index in range(tensor_count)]
    names = {tensor.name for tensor, _ in listed}
    if len(names) < len(listed):
        raise ProfileError([f"{cursor.file}: tensors: a name stands twice; write the file again"])
    return GgufHeader(
        metadata=metadata,
        tensors=tuple(tensor for tensor, _ in listed),
        missing_bytes=_missing(cursor, metadata, listed),
    )


def _version(cursor: _Cursor) -> int:
    """Version of the file, whose byte order it tells."""
    version = int(cursor.number("I", "version"))
    if version and not version & 0xFFFF:
        cursor.order, cursor.position = ">", cursor.position - 4
        version = int(cursor.number("I", "version"))
    if version in _VERSIONS:
        return version
    remedy = "convert it again" if version < _VERSIONS[0] else "a newer rooflinesim may read it"
    raise UnsupportedError(f"{cursor.file}: version: {version} is not known; 2 and 3 are read, {remedy}")


def _tensor(cursor: _Cursor, index: int, blocks: Mapping[int, tuple[str, int, int]]) -> tuple[StoredTensor, int]:
    """One tensor, and where its data starts."""
    name = cursor.name(f"name of tensor {index}")
    place = f"{name!r:.80}"
    dimensions = cursor.count("I", f"{place}: dimensions", _MAXIMUM_DIMENSIONS)
    sizes = [cursor.count("Q", f"{place}: shape", _MAXIMUM_SIZE) for _ in range(dimensions)]
    kind = int(cursor.number("I", f"{place}: type"))
    offset = int(cursor.number("Q", f"{place}: offset"))
    if kind not in blocks:
        raise UnsupportedError(f"{cursor.file}: {place}: type {kind} is not known; a newer package gguf may know it")
    form, values, size = blocks[kind]
    tensor = StoredTensor(name=name, form=_PLAIN.get(form, form), shape=tuple(reversed(sizes)), bytes=0)
    if (sizes[0] if sizes else 1) % values or tensor.elements > _MAXIMUM_SIZE:
        what = f"shape {list(tensor.shape)} cannot be stored in {form}, whose blocks hold {values} values of a row"
        raise ProfileError([f"{cursor.file}: {place}: {what}; fetch the file again"])
    return dataclasses.replace(tensor, bytes=tensor.elements // values * size), offset


def _missing(cursor: _Cursor, metadata: Mapping[str, object], listed: list[tuple[StoredTensor, int]]) -> int:
    """Bytes of tensors past the end of the file.

    Raises
    ------
    ProfileError : if tensors overlap.
    """
    alignment = metadata.get("general.alignment", 32)
    if isinstance(alignment, bool) or not isinstance(alignment, int) or not 0 < alignment <= 2**20:
        raise ProfileError([f"{cursor.file}: general.alignment: {alignment!r:.40} is no alignment; it is often 32"])
    end = 0
    for tensor, offset in sorted(listed, key=lambda one: (one[1], one[0].bytes)):
        if offset < end:
            what = f"starts at byte {offset:,} inside another, which ends at {end:,}"
            raise ProfileError([f"{cursor.file}: {tensor.name!r:.80}: {what}; fetch the file again"])
        end = offset + tensor.bytes
    start = -(-cursor.position // alignment) * alignment
    return max(0, start + end - cursor.size) if listed else 0
