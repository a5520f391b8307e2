"""What all frozen values share: they are equal, hashed and written by their fields."""

import dataclasses
from typing import Any


class Noun:
    """Base of the frozen dataclasses that are declared with ``eq=False, repr=False``.

    One body for all of them: methods generated per class would nearly double the time that defining a
    class takes, and the nouns are defined at every start.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash((type(self), *map(_hashable, _values(self))))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in _names(self))
        return f"{type(self).__name__}({fields})"


_known_names: dict[Any, tuple[str, ...]] = {}


def _names(noun: Any) -> tuple[str, ...]:
    """Names of a noun's fields, looked up once per class: models of thousands of layers compare them all."""
    kind = type(noun)
    if kind not in _known_names:
        _known_names[kind] = tuple(field.name for field in dataclasses.fields(kind))
    return _known_names[kind]


def _values(noun: Any) -> tuple[Any, ...]:
    return tuple([getattr(noun, name) for name in _names(noun)])


def _hashable(value: Any) -> Any:
    return tuple(sorted(value.items())) if type(value) is dict else value
