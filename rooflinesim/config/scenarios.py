"""Scenario files -> scenarios, and the nouns that a scenario names."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rooflinesim.config.catalogue import is_path, load_hardware, load_model, load_stack, resolve
from rooflinesim.config.declared import build
from rooflinesim.config.files import parse_documents, parse_yaml, read_text
from rooflinesim.config.inclusion import included
from rooflinesim.config.routing import with_routing
from rooflinesim.errors import FileError, ProfileError, RooflinesimError
from rooflinesim.nouns import Noun
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.scenario import Scenario
from rooflinesim.specs.stack import Stack

MAXIMUM_DOCUMENTS = 100
_NAMES = ("model", "hardware", "stack")
_FILES = ("trace", "routing")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Named(Noun):
    """The nouns that a scenario names, each by the name that its rows bear.

    `notes` say how names were understood, `paths` where each noun came from.
    """

    model: Mapping[str, Model]
    hardware: Mapping[str, Hardware]
    stack: Mapping[str, Stack]
    paths: Mapping[str, str]
    notes: tuple[str, ...]


def load_scenarios(path: str | Path) -> tuple[Scenario, ...]:
    """The scenarios of a file, one per YAML document; paths in them are relative to the file that says them.

    Raises
    ------
    FileError : if the file, or one that it includes, cannot be read.
    ProfileError : with everything that breaks the declaration.
    """
    path = Path(path)
    documents = parse_documents(read_text(path), path.name)
    if not documents:
        raise ProfileError([f"{path.name}: holds no scenario; write at least model: and hardware:"])
    if len(documents) > MAXIMUM_DOCUMENTS:
        raise ProfileError([f"{path.name}: {len(documents)} documents are too many; at most {MAXIMUM_DOCUMENTS}"])
    scenarios = []
    problems: list[str] = []
    for number, data in enumerate(documents, start=1):
        place = path.name if len(documents) == 1 else f"{path.name}, document {number}"
        if not isinstance(data, dict):
            raise ProfileError([f"{place}: holds no keys; a scenario is a mapping like 'model: llama3-70b'"])
        whole = included(data, path, lambda other: parse_yaml(read_text(other), other.name), _rooted)
        whole.setdefault("name", path.stem if len(documents) == 1 else f"{path.stem} {number}")
        try:
            scenarios.append(build(Scenario, whole, place))
        except ProfileError as error:
            problems.extend(error.problems)
    if problems:
        raise ProfileError(problems)
    return tuple(scenarios)


def load_one_scenario(path: str | Path) -> Scenario:
    """The scenario of a file that holds just one.

    Raises
    ------
    ProfileError : if it holds several, or breaks the declaration.
    """
    scenarios = load_scenarios(path)
    if len(scenarios) > 1:
        raise ProfileError(
            [f"{Path(path).name}: holds {len(scenarios)} scenarios, but one is meant here; split the file"]
        )
    return scenarios[0]


def _rooted(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Data whose relative paths start at a folder."""
    whole = dict(data)
    for key, value in data.items():
        if key in _NAMES:
            whole[key] = [_path(one, folder) for one in value] if isinstance(value, list) else _path(value, folder)
        elif key in _FILES:
            whole[key] = _path(value, folder, is_file=True)
        elif key in ("traffic", "speculation") and isinstance(value, dict):
            own = {name: _path(one, folder) if name.startswith("draft") else one for name, one in value.items()}
            whole[key] = {name: _path(one, folder, is_file=name == "trace") for name, one in own.items()}
        elif key == "prefill" and isinstance(value, dict):
            whole[key] = {name: _path(one, folder) if name == "hardware" else one for name, one in value.items()}
        elif key == "price" and isinstance(value, dict):
            whole[key] = {_path(name, folder): one for name, one in value.items()}
    return whole


def _path(value: Any, folder: Path, *, is_file: bool = False) -> Any:
    """A relative path made to start at a folder; anything else unchanged."""
    if not isinstance(value, str) or value.startswith(("/", "~")):
        return value
    path = folder / value
    if (is_file and path.exists()) or (not is_file and is_path(value, path)):
        return str(path)
    return value


def named(scenario: Scenario) -> Named:
    """The nouns of a scenario, loaded.

    Raises
    ------
    RooflinesimError : if a name is unknown or a file cannot be read; the message names the scenario's key.
    """
    paths: dict[str, str] = {}
    notes: list[str] = []

    def loaded(key: Any, load: Callable[[str], Any]) -> dict[str, Any]:
        nouns: dict[str, Any] = {}
        for name in getattr(scenario, key):
            try:
                found = resolve(key, name)
                noun = load(name)
            except RooflinesimError as error:
                kind = type(error) if isinstance(error, FileError) else RooflinesimError
                raise kind(f"{scenario.name}: {key}: {error}") from None
            label = Path(name).stem if is_path(name, Path(name)) else name
            label = name if label in nouns else label
            nouns[label] = noun
            paths[f"{key}.{label}"] = str(found.path)
            if found.note and found.note not in notes:
                notes.append(found.note)
        return nouns

    stacks = loaded("stack", load_stack)
    return Named(
        model=loaded("model", load_model),
        hardware=loaded("hardware", load_hardware),
        stack={name: with_routing(stack, scenario.routing) for name, stack in stacks.items()},
        paths=paths,
        notes=tuple(notes),
    )
