"""Reading of YAML files that others wrote: bounded, without code, anchors or duplicate keys."""

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import yaml

from rooflinesim.config.assembly import assemble
from rooflinesim.config.inclusion import included
from rooflinesim.config.inheritance import inherited
from rooflinesim.errors import FileError, ProfileError
from rooflinesim.specs.draft_head import DraftHead
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.stack import Stack

MAXIMUM_BYTES = 1_000_000
MAXIMUM_DEPTH = 20
_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

SPECS: dict[str, type[Any]] = {"hardware": Hardware, "model": Model, "stack": Stack, "draft": DraftHead}
"""Kinds of profile, and the noun that each describes."""


def spec_of(kind: str) -> type[Any]:
    """The noun that a kind of file describes."""
    if kind == "scenario":
        from rooflinesim.specs.scenario import Scenario

        return Scenario
    return SPECS[kind]


_SEXAGESIMAL = re.compile(r"[-+]?\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?")


def profile_folder(kind: str) -> Path:
    """Folder of the shipped profiles: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / f"{kind}_profiles"
    return inside if inside.is_dir() else package.parent / f"{kind}_profiles"


class _Loader(_BaseLoader):  # type: ignore[misc]
    """Safe loader that refuses a key given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Mapping of a node, refused when a key stands in it twice."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return dict(super().construct_mapping(node, deep=deep))

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Tag of a node; YAML 1.1 would take the range 1:32 for a number to the base of 60."""
        if kind is yaml.ScalarNode and implicit[0] and _SEXAGESIMAL.fullmatch(value):
            return "tag:yaml.org,2002:str"
        return super().resolve(kind, value, implicit)


def read_text(path: Path, *, limit: int = MAXIMUM_BYTES) -> str:
    """Text of a file.

    Raises
    ------
    FileError : if it does not exist, cannot be read, is larger than the limit, or is not UTF-8.
    """
    try:
        if path.is_dir():
            raise FileError(f"{path}: this is a directory; name a file in it")
        if path.exists() and not path.is_file():
            raise FileError(f"{path}: this is no regular file; name a file on disk")
        size = path.stat().st_size
        if size > limit:
            raise FileError(f"{path}: {size:,} bytes is too large for such a file; at most {limit:,} are read")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileError(f"{path}: no such file{_neighbour(path)}") from None
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8 text") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None


def _neighbour(path: Path) -> str:
    try:
        names = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def parse_yaml(text: str, place: str, *, is_shipped: bool = False) -> object:
    """Plain data of a YAML text; a shipped one is not looked through for what could blow up first.

    Raises
    ------
    FileError : if it is no YAML, uses tags, anchors or aliases, or is nested too deeply.
    """
    return _parsed(text, place, lambda: yaml.load(text, Loader=_Loader), is_shipped=is_shipped)


def parse_documents(text: str, place: str) -> list[object]:
    """Plain data of each document of a YAML text, empty ones left out.

    Raises
    ------
    FileError : as `parse_yaml`.
    """
    found = _parsed(text, place, lambda: list(yaml.load_all(text, Loader=_Loader)), is_shipped=False)
    return [one for one in found if one is not None]


def _parsed(text: str, place: str, load: Callable[[], Any], *, is_shipped: bool) -> Any:
    try:
        if not is_shipped:
            _check_events(text, place)
        return load()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise FileError(f"{place}: {line}not readable as YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise FileError(f"{place}: not readable as YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise FileError(f"{place}: not readable as YAML: nested too deeply") from None


def _check_events(text: str, place: str) -> None:
    """Refuse anchors, aliases and deep nesting, which a loader would follow without bound."""
    depth = 0
    for event in yaml.parse(text, Loader=_BaseLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        where = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise FileError(f"{place}: line {where}: YAML anchors and aliases are not read; write the value out")
        if depth > MAXIMUM_DEPTH:
            raise FileError(f"{place}: line {where}: nested more than {MAXIMUM_DEPTH} levels; no profile is")


def shipped_stack(name: str) -> dict[str, Any]:
    """Plain data of a shipped stack.

    Raises
    ------
    ProfileError : if there is none of that name.
    """
    path = profile_folder("stack") / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in path.parent.glob("*.yaml")))
        raise ProfileError([f"based_on: no stack {name!r} is shipped; known: {known}"])
    return cast(dict[str, Any], parse_yaml(read_text(path), path.name, is_shipped=True))


def read_profile(kind: str, path: Path, *, is_shipped: bool = False) -> Any:
    """The hardware, model, stack or draft head that a YAML profile describes; a shipped one is not checked again.

    Raises
    ------
    FileError : if the file cannot be read.
    ProfileError : with everything that breaks the declaration.
    """
    data = parse_yaml(read_text(path), path.name, is_shipped=is_shipped)
    if not isinstance(data, dict):
        raise ProfileError([f"{path.name}: holds no keys; a {kind} profile is a mapping like 'name: ...'"])
    if "include" in data:
        data = included(data, path, lambda other: parse_yaml(read_text(other), other.name))
    if kind == "stack" and data.get("based_on"):
        data = inherited(data, shipped_stack, path.name)
    if is_shipped:
        return assemble(SPECS[kind], data)
    from rooflinesim.config.declared import build

    return build(SPECS[kind], data, path.name)
