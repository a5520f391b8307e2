"""Validation of plain data against the specs' own field declarations: no second description of a field."""

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union

import pydantic
from pydantic import AfterValidator, BeforeValidator, ConfigDict, TypeAdapter, WithJsonSchema

from rooflinesim import units
from rooflinesim.config.axes import axis_annotation
from rooflinesim.errors import DomainError, FieldError, ProfileError

T = TypeVar("T")


def build(spec: type[T], data: object, place: str) -> T:
    """An instance of a spec from plain data such as a YAML file holds.

    Raises
    ------
    ProfileError : with every problem at once, each as `place: key: what is wrong; remedy`.
    """
    try:
        return typing.cast(T, _adapter(typing.cast(Any, spec)).validate_python(data))
    except pydantic.ValidationError as error:
        raise ProfileError(_problem(spec, detail, place) for detail in error.errors()) from None


def json_schema(spec: type[Any]) -> dict[str, Any]:
    """JSON Schema of the files from which a spec is built."""
    return _adapter(typing.cast(Any, spec)).json_schema()


@functools.cache
def _adapter(spec: Any) -> TypeAdapter[Any]:
    return TypeAdapter(_annotation(spec, {}))


@functools.cache
def _record(spec: Any) -> Any:
    """Pydantic type that checks a mapping and turns it into an instance of the dataclass."""
    hints = typing.get_type_hints(spec)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(spec):
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        annotation = _annotation(hints[field.name], field.metadata)
        fields[field.name] = (annotation, pydantic.Field(default=None) if has_default else ...)
    config = ConfigDict(extra="forbid", protected_namespaces=(), title=spec.__name__)
    model = pydantic.create_model(spec.__name__, __config__=config, **fields)

    def to_instance(checked: pydantic.BaseModel) -> Any:
        return spec(**{name: getattr(checked, name) for name in checked.model_fields_set})

    return Annotated[model, AfterValidator(to_instance)]


def _annotation(hint: Any, metadata: Mapping[str, Any]) -> Any:
    """Pydantic annotation of a field's type, its numbers parsed in the declared unit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _record(typing.cast(Any, hint))
    if origin is tuple and metadata.get("axis"):
        return axis_annotation(hint, arguments[0], metadata)
    if origin in (Union, types.UnionType):
        return Union[tuple(_annotation(argument, metadata) for argument in arguments)]  # noqa: UP007
    if origin is tuple:
        return tuple[_annotation(arguments[0], metadata), ...]  # type: ignore[misc]
    if origin is not None and _is_mapping(origin):
        return dict[str, _annotation(arguments[1], metadata)]  # type: ignore[misc]
    if origin is Literal:
        return hint
    if hint in (int, float):
        return _number(hint, metadata)
    if hint is types.NoneType:
        return None
    return Annotated[hint, pydantic.Strict()]


def _is_mapping(origin: Any) -> bool:
    """Whether a generic origin is a mapping."""
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _number(kind: type, metadata: Mapping[str, Any]) -> Any:
    unit = metadata["unit"]
    valid: units.Range = metadata["range"]

    def parse(value: object) -> float | int | None:
        if value is None:
            raise DomainError("has no value; give one or leave the key out")
        if kind is int:
            if isinstance(value, bool) or not isinstance(value, int):
                raise DomainError(f"{value!r} is not a whole number; write a plain count")
            if abs(value) > units.MAXIMUM_INTEGER:
                raise DomainError(f"a count of {value.bit_length()} bits is too large; write a plain count")
            number: float = value
        else:
            number = units.parse_quantity(value, unit)
        if not valid.admits(number):
            raise DomainError(f"{value!r} is out of range; it must be {valid}")
        return number

    if kind is int or unit not in units.EXAMPLES:
        schema: dict[str, Any] = {"type": "integer" if kind is int else "number"}
        schema["exclusiveMinimum" if valid.excludes_minimum else "minimum"] = valid.minimum
        if not math.isinf(valid.maximum):
            schema["maximum"] = valid.maximum
    else:
        schema = {"type": "string", "description": f"quantity in {unit}", "examples": [units.EXAMPLES[unit]]}
    return Annotated[kind, BeforeValidator(typing.cast(Callable[[Any], Any], parse)), WithJsonSchema(schema)]


def _problem(spec: type[Any], detail: Any, place: str) -> str:
    """One line for one validation error: file, key, what is wrong, remedy."""
    location = [str(step) for step in detail["loc"] if not str(step).startswith(("function-", "union"))]
    location = [step for step in location if step not in ("none", "nullable")]
    key = ".".join(location)
    kind = detail["type"]
    if kind == "extra_forbidden":
        return f"{place}: unknown key {key!r}{_suggestion(spec, location)}"
    if kind == "missing":
        return f"{place}: required key {key!r} is missing{_example_of(spec, location)}"
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, FieldError):
        return f"{place}: {'.'.join([*location, error.field])}: {error.message}"
    what = str(error) if error is not None else f"{detail['msg']}, not {detail['input']!r}"
    return f"{place}: {key}: {what}" if key else f"{place}: {what}"


def _spec_at(spec: Any, location: list[str]) -> Any:
    """The dataclass that a location inside a file is described by, if any."""
    current = spec
    for step in location:
        if step.isdigit():
            continue
        if not dataclasses.is_dataclass(current):
            return None
        hint = typing.get_type_hints(current).get(step)
        while hint is not None and not dataclasses.is_dataclass(hint):
            inner = [one for one in typing.get_args(hint) if one not in (types.NoneType, Ellipsis)]
            hint = inner[-1] if inner else None
        current = hint
    return current


def _suggestion(spec: type[Any], location: list[str]) -> str:
    owner = _spec_at(spec, location[:-1])
    if owner is None:
        return ""
    known = [field.name for field in dataclasses.fields(owner)]
    if "sparse" in location[-1].lower():
        return "; only dense rates enter a profile: give dense_flop_rate"
    close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(known)}"


def _example_of(spec: type[Any], location: list[str]) -> str:
    owner = _spec_at(spec, location[:-1])
    field = next((one for one in dataclasses.fields(owner) if one.name == location[-1]), None) if owner else None
    example = units.EXAMPLES.get(field.metadata.get("unit", "")) if field else None
    return f"; write it like {location[-1]}: {example}" if example else "; add it"
