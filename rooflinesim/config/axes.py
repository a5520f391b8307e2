"""Fields of a scenario that may vary: one value, a list of values, or a range becomes a tuple of values."""

import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from rooflinesim import units
from rooflinesim.errors import DomainError


def axis_annotation(hint: Any, item: Any, metadata: Mapping[str, Any]) -> Any:
    """Pydantic annotation of a tuple of values that a file writes as one value, a list or a range."""
    kinds = [one for one in typing.get_args(item) if one is not types.NoneType] or [item]
    read = _READERS[kinds[0]]
    schema = _schema(kinds[0], metadata)
    takes_none = item is not kinds[0]

    def parse(value: object) -> tuple[Any, ...]:
        items = value if isinstance(value, (list, tuple)) else [value]
        if not items:
            raise DomainError("is empty; give at least one value, or leave the key out")
        found: list[Any] = []
        for one in items:
            if one is None and not takes_none:
                raise DomainError("has no value; give one or leave the key out")
            found.extend((None,) if one is None else read(one, metadata))
        if len(found) > units.MAXIMUM_RANGE_POINTS:
            raise DomainError(f"has {len(found):,} values; at most {units.MAXIMUM_RANGE_POINTS:,} are taken")
        return tuple(dict.fromkeys(found))

    item_schema = {"anyOf": [schema, {"type": "null"}]} if takes_none else schema
    listed = {"type": "array", "items": item_schema, "minItems": 1}
    return Annotated[
        hint,
        BeforeValidator(typing.cast(Callable[[Any], Any], parse)),
        WithJsonSchema({"anyOf": [item_schema, listed]}),
    ]


def _schema(kind: type, metadata: Mapping[str, Any]) -> dict[str, Any]:
    if kind is str:
        return {"type": "string"}
    unit = metadata["unit"]
    if kind is int:
        return {"type": ["integer", "string"], "description": "count or range", "examples": [8, "1:256", "1:256:+16"]}
    if unit in units.EXAMPLES:
        return {"type": "string", "description": f"quantity in {unit} or range", "examples": [units.EXAMPLES[unit]]}
    return {"type": ["number", "string"], "description": "number or range", "examples": [0.8, "0.5:0.9:+0.1"]}


def _name(value: object, _metadata: Mapping[str, Any]) -> tuple[str, ...]:
    if isinstance(value, int) and not isinstance(value, bool):
        # A device by its number alone, such as 4090.
        return (str(value),)
    if not isinstance(value, str) or not value.strip():
        raise DomainError(f"{value!r:.60} is not a name; write plain text")
    return (value,)


def _counts(value: object, metadata: Mapping[str, Any]) -> tuple[int, ...]:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise DomainError(f"{value!r:.60} is not a count; write it like 8, 2k, 1:256 or 1:256:+16")
    valid: units.Range = metadata["range"]
    counts = units.parse_range(str(value))
    for one in counts:
        if not valid.admits(one):
            raise DomainError(f"{one} is out of range; it must be {valid}")
    return counts


def _quantities(value: object, metadata: Mapping[str, Any]) -> tuple[float, ...]:
    valid: units.Range = metadata["range"]
    values = units.parse_quantity_range(value, metadata["unit"])
    for one in values:
        if not valid.admits(one):
            raise DomainError(f"{value!r:.60} is out of range; it must be {valid}")
    return values


_READERS: Mapping[type, Callable[[object, Mapping[str, Any]], tuple[Any, ...]]] = {
    str: _name,
    int: _counts,
    float: _quantities,
}
