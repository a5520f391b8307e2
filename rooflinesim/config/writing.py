"""Profiles as YAML text."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import yaml

from rooflinesim.units import EXAMPLES, format_quantity


class _Dumper(yaml.SafeDumper):
    """Dumper that keeps the order of keys and writes short mappings on one line."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Write equal values out each time."""
        return True


def _mapping(dumper: yaml.SafeDumper, data: Mapping[str, Any]) -> yaml.Node:
    is_flat = not any(isinstance(value, (Mapping, list)) for value in data.values())
    width = sum(len(f"{key}: {value}, ") for key, value in data.items())
    node = dumper.represent_mapping("tag:yaml.org,2002:map", data.items())
    node.flow_style = is_flat and width < 100
    return node


_Dumper.add_representer(dict, _mapping)


def profile_text(data: Mapping[str, Any]) -> str:
    """YAML text of a profile's plain data, keys in the given order."""
    lines = [
        f"{key}: {yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=1000).strip()}"
        for key, value in data.items()
        if key in ("name", "aliases") and value
    ]
    rest = {key: value for key, value in data.items() if key not in ("name", "aliases")}
    clean = [line.removesuffix("...").strip() for line in lines]
    body = yaml.dump(rest, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True) if rest else ""
    return "\n".join(clean) + "\n" + body


DIGITS = 6
"""Significant digits of the numbers that are written."""


def plain_data(noun: Any) -> dict[str, Any]:
    """Plain data of a described noun as its file has it: quantities with their units, defaults left out."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(noun):
        value = getattr(noun, field.name)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is dataclasses.MISSING or value != default:
            found[field.name] = _plain(value, field.metadata.get("unit", ""))
    return found


def _plain(value: Any, unit: str) -> Any:
    if dataclasses.is_dataclass(value):
        return plain_data(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner, unit) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(inner, unit) for inner in value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if unit in EXAMPLES:
        return format_quantity(float(value), unit, DIGITS)
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")
