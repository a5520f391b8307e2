"""What all frozen values share: they are equal, hashed and written by their fields."""

import dataclasses
from collections.abc import Mapping
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
        return hash((type(self), tuple(_hashable(value) for value in _values(self))))

    def __repr__(self) -> str:
        fields = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in _fields(self))
        return f"{type(self).__name__}({fields})"


def _fields(noun: Any) -> tuple["dataclasses.Field[Any]", ...]:
    return dataclasses.fields(noun)


def _values(noun: Any) -> tuple[Any, ...]:
    return tuple(getattr(noun, field.name) for field in _fields(noun))


def _hashable(value: Any) -> Any:
    return tuple(sorted(value.items())) if isinstance(value, Mapping) else value
