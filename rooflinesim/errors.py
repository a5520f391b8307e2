"""Every error that rooflinesim raises on purpose; each message names the place, the value and the remedy."""

from collections.abc import Iterable


class RooflinesimError(Exception):
    """Base of all errors that are the user's to mend."""


class DomainError(RooflinesimError, ValueError):
    """A value lies outside the range in which it has a meaning."""


class FieldError(DomainError):
    """One field of a noun has a value without a meaning; says which."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.message = message
        super().__init__(f"{field}: {message}")


class UnitError(DomainError):
    """A quantity has no unit, a wrong one, or is not a number."""


class UnknownNameError(RooflinesimError, LookupError):
    """No model, device, stack or format goes by this name."""


class FileError(RooflinesimError):
    """A file cannot be read, written or understood."""


class ProfileError(RooflinesimError):
    """A profile or configuration file breaks its declaration; holds all of its problems."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class UnsupportedError(RooflinesimError):
    """The question is clear, but this version has no honest answer to it."""
