"""Exceptions of the science core."""

from __future__ import annotations


class Fuse2Error(Exception):
    """Base class of every error that this package raises on purpose."""


class InputError(Fuse2Error, ValueError):
    """Bad input: names the field, the value and what would be right."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field = field
        self.value = value
        self.expected = expected
        super().__init__(f"{field} = {value!r}: {expected}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str]]:
        """Pickle with all three arguments, so that the error survives a process boundary."""
        return type(self), (self.field, self.value, self.expected)


class ReasonedError(Fuse2Error):
    """A counted, named failure: ``reason`` is a short fixed identifier, ``detail`` is for people."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = str(reason)
        self.detail = detail
        super().__init__(f"{self.reason}: {detail}" if detail else self.reason)

    def __reduce__(self) -> tuple[type[ReasonedError], tuple[str, str]]:
        """Pickle with both arguments."""
        return type(self), (self.reason, self.detail)


class GenerationError(ReasonedError):
    """A generator could not make a structure in this attempt."""


class MoveError(ReasonedError):
    """A move could not be applied to this structure with this draw."""


class RelaxationError(ReasonedError):
    """A structure could not be relaxed."""
