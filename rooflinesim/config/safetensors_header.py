"""Headers of `.safetensors` files: a length, and a JSON object that lists every tensor; no weight is read."""

import collections
import json
import struct
from pathlib import Path

from rooflinesim.config.stored_sizes import StoredTensor
from rooflinesim.errors import FileError, ProfileError, UnsupportedError

MAXIMUM_HEADER_BYTES = 32_000_000
"""The format allows 100 MB; a file of 40,000 tensors has a header of some 7 MB."""
# Each tensor is an object with two lists of a few numbers.
_MAXIMUM_TENSORS = 40_000
_MAXIMUM_OBJECTS = 3 * _MAXIMUM_TENSORS
_MAXIMUM_VALUES = 10 * _MAXIMUM_TENSORS
_MAXIMUM_SIZE = 2**40
_LFS_POINTER = b"version "

# Element type -> the name of its number format, and its bits.
_TYPES = {
    "BOOL": ("bool", 8),
    "F4": ("fp4", 4),
    "F6_E2M3": ("fp6", 6),
    "F6_E3M2": ("fp6", 6),
    "F8_E4M3": ("fp8", 8),
    "F8_E5M2": ("fp8", 8),
    "F8_E4M3FNUZ": ("fp8", 8),
    "F8_E5M2FNUZ": ("fp8", 8),
    "F8_E8M0": ("u8", 8),
    "U8": ("u8", 8),
    "I8": ("i8", 8),
    "U16": ("i16", 16),
    "I16": ("i16", 16),
    "F16": ("fp16", 16),
    "BF16": ("bf16", 16),
    "U32": ("u32", 32),
    "I32": ("i32", 32),
    "F32": ("fp32", 32),
    "U64": ("i64", 64),
    "I64": ("i64", 64),
    "F64": ("fp64", 64),
    "C64": ("c64", 64),
}


def read_header(path: Path) -> tuple[StoredTensor, ...]:
    """Every tensor that a `.safetensors` file lists.

    Raises
    ------
    FileError : if the file cannot be read or its header is too long, cut off, or no JSON.
    ProfileError : if an entry is malformed or contradicts itself.
    UnsupportedError : if an element type is not known.
    """
    text = _header_text(path)
    if text.count("{") + text.count("[") > _MAXIMUM_OBJECTS or text.count(",") > _MAXIMUM_VALUES:
        raise FileError(f"{path.name}: header: it lists more than {_MAXIMUM_TENSORS:,} tensors; is this a model?")
    tensors: list[StoredTensor] = []
    end = 0
    file = path.name
    for name, entry in _entries(text, file):
        if name == "__metadata__":
            continue
        tensor, stop = _tensor(name, entry, file)
        tensors.append(tensor)
        end = max(end, stop)
    total = sum(tensor.bytes for tensor in tensors)
    if total != end:
        what = f"{end:,} B are spanned, but the tensors hold {total:,} B"
        raise ProfileError([f"{path.name}: data_offsets: {what}; write the file again"])
    return tuple(tensors)


def _header_text(path: Path) -> str:
    """The JSON text at the start of a file, its length checked first."""
    if not path.is_file():
        raise FileError(f"{path}: {'no regular file' if path.exists() else 'no such file'}; give a .safetensors file")
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            start = file.read(8)
            if start == _LFS_POINTER:
                raise FileError(f"{path.name}: holds a git-lfs pointer, no weights; run `git lfs pull`")
            if len(start) < 8:
                raise FileError(f"{path.name}: {size} bytes are too few for a .safetensors file; fetch it again")
            (length,) = struct.unpack("<Q", start)
            if length > size - 8:
                what = f"announces {length:,} B, but the file has {size - 8:,} B after it"
                raise FileError(f"{path.name}: header length: {what}; fetch it again")
            if length > MAXIMUM_HEADER_BYTES:
                what = f"{length:,} B is too long; at most {MAXIMUM_HEADER_BYTES:,} are read"
                raise FileError(f"{path.name}: header length: {what}")
            return file.read(length).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"{path.name}: header: byte {error.start} is not UTF-8; fetch it again") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None


def _entries(text: str, file: str) -> list[tuple[str, object]]:
    """Name and entry of each tensor; a name that stands twice would count twice."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        values = dict(pairs)
        if len(values) < len(pairs):
            twice, _ = collections.Counter(key for key, _ in pairs).most_common(1)[0]
            raise ProfileError([f"{file}: header: {twice!r:.80} stands twice; write the file again"])
        return values

    try:
        data = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise FileError(f"{file}: header: not readable as JSON: {what}; fetch it again") from None
    if not isinstance(data, dict):
        raise FileError(f"{file}: header: holds {text[:20]!r}, no object; fetch it again")
    return list(data.items())


def _tensor(name: str, entry: object, file: str) -> tuple[StoredTensor, int]:
    """One tensor, and the end of its data."""
    place = f"{file}: {name!r:.80}"
    if not isinstance(entry, dict):
        raise ProfileError([f"{place}: {type(entry).__name__} is no object with dtype, shape and data_offsets"])
    kind = entry.get("dtype")
    if not isinstance(kind, str) or kind not in _TYPES:
        shown = f"{kind!r:.40}" if isinstance(kind, str) else type(kind).__name__
        raise UnsupportedError(f"{place}.dtype: {shown} is not known; known: {', '.join(_TYPES)}")
    form, bits = _TYPES[kind]
    shape = _whole_numbers(entry.get("shape"), f"{place}.shape", limit=_MAXIMUM_SIZE, most=16)
    offsets = _whole_numbers(entry.get("data_offsets"), f"{place}.data_offsets", limit=2**60, most=2)
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ProfileError([f"{place}.data_offsets: {list(offsets)} is no begin and end; write the file again"])
    stored = offsets[1] - offsets[0]
    tensor = StoredTensor(name=name, form=form, shape=shape, bytes=stored)
    if tensor.elements * bits != stored * 8:
        what = f"spans {stored:,} B, but shape {list(shape)} in {kind} needs {tensor.elements * bits / 8:.10g} B"
        raise ProfileError([f"{place}.data_offsets: {what}; write the file again"])
    return tensor, offsets[1]


def _whole_numbers(value: object, place: str, *, limit: int, most: int) -> tuple[int, ...]:
    """A short list of counts.

    Raises
    ------
    ProfileError : if it is none, or one is out of range.
    """
    if not isinstance(value, list) or len(value) > most:
        shown = f"a list of {len(value):,}" if isinstance(value, list) else f"{type(value).__name__}"
        raise ProfileError([f"{place}: {shown} is no list of at most {most} whole numbers"])
    for one in value:
        if isinstance(one, bool) or not isinstance(one, int) or not 0 <= one <= limit:
            raise ProfileError([f"{place}: {one!r:.40} is no whole number from 0 to {limit:,}"])
    return tuple(value)
