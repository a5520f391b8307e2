"""Names of models, devices and stacks -> profiles: shipped ones by name or alias, others by path."""

import dataclasses
import difflib
import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from rooflinesim.config.files import parse_yaml, profile_folder, read_profile
from rooflinesim.errors import FileError, UnknownNameError
from rooflinesim.nouns import Noun
from rooflinesim.specs.formats import number_format
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.stack import Stack

Kind = Literal["model", "hardware", "stack", "draft"]

_WORD = {"model": "model", "hardware": "GPU", "stack": "stack", "draft": "draft head"}
_LIST = {"model": "models", "hardware": "gpus", "stack": "stacks", "draft": "drafts"}
_SUFFIXES = (".yaml", ".yml", ".json", ".gguf", ".safetensors")
# Parts of a name that say nothing about the shape or the chip.
_DECORATIONS = {
    "model": {"instruct", "it", "hf", "base", "meta", "chat", "preview"},
    "hardware": {
        "nvidia",
        "geforce",
        "amd",
        "instinct",
        "radeon",
        "intel",
        "google",
        "apple",
        "tesla",
        "gpu",
        "gen4",
    },
    "stack": set(),
    "draft": set(),
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Entry(Noun):
    """A shipped profile: its file, its name and the names that people type for it."""

    path: Path
    name: str
    aliases: tuple[str, ...]

    @property
    def key(self) -> str:
        """Short name: that of the file."""
        return self.path.stem


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Resolution(Noun):
    """What a typed name stands for.

    `weights` is a number format that was part of the name, `hub_id` is set where the file is from the hub.
    """

    path: Path
    weights: str | None = None
    note: str | None = None
    hub_id: str | None = None


@functools.cache
@functools.cache
def entries(kind: Kind) -> tuple[Entry, ...]:
    """All shipped profiles of a kind, by name; only their first two lines are read."""
    return _entries_of(kind, _heads(kind))


@functools.cache
def _profile_paths(kind: Kind) -> tuple[Path, ...]:
    return tuple(sorted(profile_folder(kind).glob("*.yaml")))


@functools.cache
def _heads(kind: Kind) -> Mapping[Path, str]:
    """The first two lines of every profile, its name and aliases, as items of a YAML list."""
    return {path: _head_item(path) for path in _profile_paths(kind)}


def _entries_of(kind: Kind, heads: Mapping[Path, str]) -> tuple[Entry, ...]:
    """Entries of some profiles; one YAML list is read five times as fast as many small documents."""
    parsed = cast(list[dict[str, Any]], parse_yaml("".join(heads.values()), f"{kind} profiles", is_shipped=True) or [])
    return tuple(
        Entry(path=path, name=str(head["name"]), aliases=tuple(head.get("aliases", ())))
        for path, head in zip(heads, parsed, strict=True)
    )


def _head_item(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return f"- {file.readline()}  {file.readline()}"


def resolve(kind: Kind, name: str) -> Resolution:
    """The file that a name, alias, hub id or path stands for, and what to say about the choice.

    Raises
    ------
    UnknownNameError : if nothing goes by the name; the message names the nearest ones.
    FileError : if a path is meant and no file is there.
    """
    try:
        path = Path(name).expanduser()
    except RuntimeError:
        raise FileError(f"{name}: there is no such home directory; write the path out") from None
    if is_path(name, path):
        if kind == "model" and path.is_dir():
            from rooflinesim.config.checkpoint import main_file

            path = main_file(path)
        if not path.exists():
            raise FileError(f"{path}: no such file; give a path, or a name from `rooflinesim list {_LIST[kind]}`")
        return Resolution(path=path)
    typed = _normal(name)
    direct = profile_folder(kind) / f"{typed}.yaml"
    if kind != "hardware" and re.fullmatch(r"[a-z0-9.+-]+", typed) and direct.is_file():
        return Resolution(path=direct)
    return _search(kind, name, typed)


def is_path(name: str, path: Path) -> bool:
    """Whether a typed name means a file; `path` is where it would be."""
    return name.lower().endswith(_SUFFIXES) or (os.sep in name and path.exists()) or name.startswith((".", "/", "~"))


def _search(kind: Kind, name: str, typed: str) -> Resolution:
    for wanted, weights in _readings(kind, typed):
        for reading in (_exact, _compact, _token_set):
            found = reading(kind, wanted)
            if found:
                return Resolution(path=found.path, weights=weights, note=_choice_note(kind, name, wanted, found))
    known = sorted({key for entry in entries(kind) for key in (entry.key, *entry.aliases)})
    close = difflib.get_close_matches(typed, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "give a path"
    where = f"`rooflinesim list {_LIST[kind]}` shows all"
    unknown = f"unknown {_WORD[kind]} {name!r}; {hint} ({where})"
    if kind == "model" and "/" in name:
        return _on_the_hub(name, unknown)
    raise UnknownNameError(unknown)


def _on_the_hub(name: str, unknown: str) -> Resolution:
    """The configuration of a model that no preset goes by, by its id on the hub."""
    from rooflinesim.config.hub import hub_files, is_hub_id

    if not is_hub_id(name):
        raise UnknownNameError(unknown)
    try:
        files = hub_files(name)
    except FileError as error:
        raise UnknownNameError(f"{unknown}; {error}") from None
    return Resolution(path=files.config, note=files.note, hub_id=name)


def _readings(kind: Kind, typed: str) -> list[tuple[str, str | None]]:
    """The name as typed, and without a number format at its end."""
    readings: list[tuple[str, str | None]] = [(typed, None)]
    if kind == "model":
        tokens = typed.replace(":", "-").split("-")
        for length in range(1, min(4, len(tokens))):
            tail = "-".join(tokens[-length:])
            try:
                weights = number_format("q4_k_m" if tail in ("q4", "gguf") else tail).name
            except UnknownNameError:
                continue
            readings.append(("-".join(tokens[:-length]), weights))
    return readings


def _normal(name: str) -> str:
    """Lower case, without an organisation or a remark in brackets, spaces and underscores as dashes."""
    plain = re.sub(r"\(.*?\)", "", name).strip().lower().rstrip("/")
    return re.sub(r"[\s_]+", "-", plain).split("/")[-1]


def _tokens(kind: Kind, name: str) -> frozenset[str]:
    return frozenset(token for token in name.split("-") if token and token not in _DECORATIONS[kind])


def _compacted(kind: Kind, name: str) -> str:
    """Letters, digits and points alone, decorations dropped: llama-3-70b-instruct -> llama370b."""
    kept = [token for token in name.split("-") if token not in _DECORATIONS[kind]]
    return re.sub(r"[^a-z0-9.]", "", "".join(kept))


def _all_names(entry: Entry) -> tuple[str, ...]:
    return tuple(_normal(name) for name in (entry.key, entry.name, *entry.aliases))


def _exact(kind: Kind, wanted: str) -> Entry | None:
    """Entry with this name; only heads in which the words stand are read."""
    parts = wanted.split("-")
    heads = {path: head for path, head in _heads(kind).items() if all(part in head.lower() for part in parts)}
    heads |= {path: _heads(kind)[path] for path in _profile_paths(kind) if path.stem == wanted}
    return next((entry for entry in _entries_of(kind, heads) if wanted in _all_names(entry)), None)


def _compact(kind: Kind, wanted: str) -> Entry | None:
    key = _compacted(kind, wanted)
    return next((e for e in entries(kind) if key and key in {_compacted(kind, one) for one in _all_names(e)}), None)


def _token_set(kind: Kind, wanted: str) -> Entry | None:
    """Device whose names hold all typed parts in any order, the one with the fewest other parts first."""
    if kind != "hardware":
        return None
    tokens = _tokens(kind, wanted)
    rank = {
        entry: len(parts - tokens)
        for entry in entries(kind)
        if tokens and tokens <= (parts := frozenset().union(*(_tokens(kind, one) for one in _all_names(entry))))
    }
    return min(rank, key=lambda entry: (rank[entry], entry.key)) if rank else None


def _choice_note(kind: Kind, name: str, wanted: str, found: Entry) -> str | None:
    if kind == "hardware":
        return _siblings(kind, wanted, found)
    versions = [entry.key for entry in entries(kind) if entry != found and entry.key.startswith(f"{wanted}-v")]
    if versions:
        return f"{name!r} is taken as {found.name}; there are also {', '.join(versions)}"
    return None if _normal(name) in _all_names(found) else f"{name!r} is read as {found.name}"


def _siblings(kind: Kind, wanted: str, found: Entry) -> str | None:
    """Say which device a bare name was taken for when the names of others contain it."""
    tokens = _tokens(kind, wanted)
    keys = (path.stem for path in _profile_paths(kind) if path != found.path)
    others = [key for key in keys if tokens < _tokens(kind, key)]
    if not others or len(tokens) > 1:
        return None
    return f"{wanted!r} is taken as {found.name}; there are also {', '.join(others)}"


def _read(kind: Kind, path: Path) -> object:
    return read_profile(kind, path, is_shipped=path.parent == profile_folder(kind))


def load_hardware(name: str) -> Hardware:
    """The device that a name, alias or path stands for."""
    return cast(Hardware, _read("hardware", resolve("hardware", name).path))


def load_stack(name: str) -> Stack:
    """The software stack that a name, alias or path stands for."""
    return cast(Stack, _read("stack", resolve("stack", name).path))


def load_model(name: str) -> Model:
    """The model that a name, alias, hub id or path stands for; a quantised name changes its checkpoint.

    Raises
    ------
    RooflinesimError : if the name is unknown or the file cannot be read.
    """
    resolution = resolve("model", name)
    if resolution.hub_id is not None:
        from rooflinesim.config.hub import hub_files, read_hub_model

        return read_hub_model(hub_files(resolution.hub_id))
    if resolution.path.suffix not in (".yaml", ".yml"):
        return read_model_file(resolution.path)
    model = cast(Model, _read("model", resolution.path))
    if resolution.weights is None:
        return model
    form = number_format(resolution.weights)
    rest = None if form.covers_head else "bf16"
    stored = dataclasses.replace(
        model.checkpoint,
        weights=form.name,
        attention=None,
        mlp=None,
        experts=None,
        shared_experts=None,
        head=rest,
        embedding=rest,
    )
    return dataclasses.replace(model, checkpoint=stored)


def read_model_file(path: Path) -> Model:
    """The model of a config.json, a header or an index.

    Raises
    ------
    RooflinesimError : if the file cannot be read, or is none of these.
    """
    suffix = path.suffix.lower()
    if suffix == ".gguf":
        from rooflinesim.config.gguf_model import read_gguf

        return read_gguf(path)
    if suffix == ".safetensors" or path.name.endswith(".safetensors.index.json"):
        from rooflinesim.config.checkpoint import read_checkpoint

        return read_checkpoint(path)
    if suffix == ".json":
        from rooflinesim.config.huggingface import read_config

        return read_config(path)
    raise FileError(f"{path}: not a model file that is read; give a config.json, .safetensors, .gguf or a YAML profile")
