"""Whether a file is a valid profile, config.json or header of weights, whatever its kind."""

from pathlib import Path

from rooflinesim.config.catalogue import read_model_file
from rooflinesim.config.declared import build
from rooflinesim.config.files import SPECS, parse_documents, parse_yaml, read_text, shipped_stack
from rooflinesim.config.inclusion import included
from rooflinesim.config.inheritance import inherited
from rooflinesim.config.scenarios import load_scenarios
from rooflinesim.errors import ProfileError


def kind_of(data: object, place: str) -> str:
    """Which kind of profile a mapping is, told by the keys that only one kind has.

    Raises
    ------
    ProfileError : if it has no such key.
    """
    marks = {
        "scenario": ("hardware", "question", "traffic", "objective", "parallelism"),
        "hardware": ("memory_bandwidth", "dense_flop_rate", "memory_type"),
        "draft": ("targets", "generation", "mlp_width"),
        "model": ("hidden_size", "layers", "vocabulary"),
        "stack": ("memory_efficiency", "collectives", "gemm", "based_on"),
    }
    if isinstance(data, dict):
        for kind, keys in marks.items():
            if any(key in data for key in keys):
                return kind
    raise ProfileError(
        [f"{place}: no hardware, model, stack or draft profile and no scenario: it has none of their keys"]
    )


def check_file(path: Path) -> str:
    """Kind of a file that passes all checks: hardware, model, stack, draft, scenario, config or checkpoint.

    Raises
    ------
    FileError, ProfileError : with what is wrong.
    """
    is_checkpoint = path.suffix.lower() in (".safetensors", ".gguf") or path.name.endswith(".safetensors.index.json")
    if is_checkpoint or path.suffix == ".json":
        read_model_file(path)
        return "checkpoint" if is_checkpoint else "config"
    documents = parse_documents(read_text(path), path.name)
    if len(documents) > 1:
        # Only scenarios stand several in one file.
        load_scenarios(path)
        return "scenario"
    data = documents[0] if documents else None
    if isinstance(data, dict) and "include" in data:
        data = included(data, path, lambda other: parse_yaml(read_text(other), other.name))
    kind = kind_of(data, path.name)
    if kind == "scenario":
        load_scenarios(path)
        return kind
    if kind == "stack" and isinstance(data, dict):
        data = inherited(data, shipped_stack, path.name)
    build(SPECS[kind], data, path.name)
    return kind
