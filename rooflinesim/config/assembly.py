"""Specs from the shipped profiles, which passed every check when they were packaged: quick, without pydantic."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from rooflinesim import units


def assemble(spec: Any, data: Mapping[str, Any]) -> Any:
    """An instance of a spec from data that `declared.build` accepts, its quantities parsed."""
    fields = {field.name: field for field in dataclasses.fields(spec)}
    return spec(**{name: _value(fields[name].type, fields[name].metadata, value) for name, value in data.items()})


def _value(hint: Any, metadata: Mapping[str, Any], value: Any) -> Any:
    """A field's value in the type that it declares."""
    if value is None:
        return None
    if isinstance(hint, types.UnionType):
        hint = next(one for one in typing.get_args(hint) if one is not types.NoneType)
    if dataclasses.is_dataclass(hint):
        return assemble(hint, value)
    if hint is float:
        return units.parse_quantity(value, metadata["unit"])
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return tuple(_value(arguments[0], metadata, one) for one in value)
    if origin is Mapping:
        return {key: _value(arguments[1], metadata, one) for key, one in value.items()}
    return value
