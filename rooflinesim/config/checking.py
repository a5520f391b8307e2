"""Whether a file is a valid profile or config.json, whatever its kind."""

from pathlib import Path

from rooflinesim.config.declared import build
from rooflinesim.config.files import SPECS, parse_yaml, read_text
from rooflinesim.config.huggingface import read_config
from rooflinesim.errors import ProfileError


def kind_of(data: object, place: str) -> str:
    """Which kind of profile a mapping is, told by the keys that only one kind has.

    Raises
    ------
    ProfileError : if it has no such key.
    """
    marks = {
        "hardware": ("memory_bandwidth", "dense_flop_rate", "memory_type"),
        "model": ("hidden_size", "layers", "vocabulary"),
        "stack": ("memory_efficiency", "collectives", "gemm"),
    }
    if isinstance(data, dict):
        for kind, keys in marks.items():
            if any(key in data for key in keys):
                return kind
    raise ProfileError([f"{place}: no hardware, model or stack profile: it has none of their keys"])


def check_file(path: Path) -> str:
    """Kind of a file that passes all checks: hardware, model, stack or config.

    Raises
    ------
    FileError, ProfileError : with what is wrong.
    """
    if path.suffix == ".json":
        read_config(path)
        return "config"
    data = parse_yaml(read_text(path), path.name)
    kind = kind_of(data, path.name)
    build(SPECS[kind], data, path.name)
    return kind
