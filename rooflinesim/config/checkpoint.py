"""A checkpoint on disk -> Model: its config.json for the shape, its headers for the bytes."""

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from rooflinesim.config.huggingface import read_config
from rooflinesim.config.json_file import read_object
from rooflinesim.config.safetensors_header import read_header
from rooflinesim.config.stored_sizes import StoredTensor, with_stored_sizes
from rooflinesim.config.tensor_names import place_of
from rooflinesim.errors import DomainError, FileError, ProfileError
from rooflinesim.specs.model import Model
from rooflinesim.specs.precision import precision_of
from rooflinesim.workload.footprint import resident_weight_bytes

INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.safetensors|\.gguf)")
# Files of a checkpoint folder that hold no weights of the model, or hold them a second time.
_BESIDE = ("consolidated", "adapter", "optimizer", "training")


def main_file(folder: Path) -> Path:
    """The file of a folder from which its model is read: index, weights, or config.json.

    Raises
    ------
    FileError : if the folder holds none of them, or several that do not belong together.
    """
    if (folder / INDEX).is_file():
        return folder / INDEX
    for suffix in (".safetensors", ".gguf"):
        if suffix == ".gguf" and (folder / "config.json").is_file():
            break
        found = sorted(path for path in folder.glob(f"*{suffix}") if not path.name.startswith(_BESIDE))
        stems = {shard["stem"] if (shard := _SHARD.fullmatch(path.name)) else path.name for path in found}
        if "model.safetensors" in stems:
            return folder / "model.safetensors"
        if len(stems) > 1:
            listed = ", ".join(path.name for path in found[:3])
            raise FileError(f"{folder}: {len(found)} files with weights and no {INDEX}: {listed}; name one of them")
        if found:
            return found[0]
    if not (folder / "config.json").exists():
        raise FileError(f"{folder}: holds no config.json, .safetensors or .gguf; give a folder or file with a model")
    return folder / "config.json"


def read_checkpoint(path: Path) -> Model:
    """The model of a `.safetensors` file, with its other shards, or of an index; config.json stands beside it.

    Raises
    ------
    FileError : if a file is missing or cannot be read.
    ProfileError : if one is malformed.
    UnsupportedError : if the family or an element type is not known.
    """
    config = path.with_name("config.json")
    if not config.is_file():
        raise FileError(f"{path}: no config.json beside it, and shapes alone do not tell heads; put it there")
    notes: tuple[str, ...] = ()
    if path.name.endswith(".json"):
        files, announced = _indexed(path)
        tensors = _all_tensors(files)
        held = sum(tensor.bytes for tensor in tensors)
        if announced is not None and announced != held:
            notes = (f"{path.name}: metadata.total_size is {announced:,} B, its files hold {held:,} B: these count",)
    else:
        files = shards_of(path)
        tensors = _all_tensors(files)
    try:
        model = with_stored_sizes(read_config(config), tensors, place_of, path.name)
    except DomainError as error:
        raise ProfileError([f"{path.name}: {error}; fetch the file again"]) from None
    source = f"{config.name}, headers of {files[0].name if len(files) == 1 else f'{len(files)} files'}"
    return dataclasses.replace(model, source=source, assumptions=(*model.assumptions, *notes))


def read_announced(config: Path, index: Path) -> Model:
    """The model of a config.json, its bytes compared with the total of an index whose files are elsewhere."""
    model = read_config(config)
    _, announced = _entries(index)
    counted = sum(resident_weight_bytes(model, precision_of(model)).values())
    if announced is None or round(counted) == announced:
        return model
    note = f"the index announces {announced:,} B of weights, the config makes {counted:,.0f} B: the config counts"
    return dataclasses.replace(model, assumptions=(*model.assumptions, note))


def shards_of(path: Path) -> list[Path]:
    """A file, or all files of the set that its name is one of.

    Raises
    ------
    FileError : if one of them is missing.
    """
    shard = _SHARD.fullmatch(path.name)
    if shard is None:
        return [path]
    count = int(shard["count"])
    files = [
        path.with_name(f"{shard['stem']}-{number:05d}-of-{shard['count']}{shard['suffix']}")
        for number in range(1, count + 1)
    ]
    _present(files, path.name)
    return files


def is_complete(index: Path) -> bool:
    """Whether all files that an index names lie beside it."""
    names, _ = _entries(index)
    return all(index.with_name(name).is_file() for name in names)


def _present(files: list[Path], owner: str) -> None:
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        what = f"{missing[0]!r:.80}{more} of {len(files)} files"
        raise FileError(f"{owner}: {what} not there; fetch them, or give config.json alone")


def _indexed(path: Path) -> tuple[list[Path], int | None]:
    """Files that an index names, all of them there, and the bytes that it announces."""
    names, announced = _entries(path)
    files = [path.with_name(name) for name in names]
    _present(files, f"{path.name}: weight_map")
    return files, announced


def _entries(path: Path) -> tuple[list[str], int | None]:
    """Names of files in an index, each once, and its total size if it has one.

    Raises
    ------
    ProfileError : if it has no weight_map of file names.
    """
    data, _ = read_object(path)
    weights = data.get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise ProfileError(
            [f"{path.name}: weight_map: {'empty' if weights == {} else 'missing'}; fetch the file again"]
        )
    names: dict[str, None] = {}
    for tensor, name in weights.items():
        if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]+\.safetensors", name):
            shown = f"{name!r:.60}" if isinstance(name, str) else type(name).__name__
            what = f"{shown} is no name of a .safetensors file beside it"
            raise ProfileError([f"{path.name}: weight_map.{tensor!r:.60}: {what}"])
        names[name] = None
    metadata = data.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    is_count = isinstance(total, (int, float)) and not isinstance(total, bool) and 0 <= total < 2**60
    return list(names), int(total) if is_count else None  # type: ignore[arg-type]


def _all_tensors(files: Iterable[Path]) -> list[StoredTensor]:
    """Tensors of all files.

    Raises
    ------
    ProfileError : if two files hold the same one.
    """
    homes: dict[str, str] = {}
    tensors: list[StoredTensor] = []
    for file in files:
        for tensor in read_header(file):
            if tensor.name in homes:
                what = f"stands in {homes[tensor.name]} too; remove one of the files"
                raise ProfileError([f"{file.name}: {tensor.name!r:.80} {what}"])
            homes[tensor.name] = file.name
            tensors.append(tensor)
    return tensors
