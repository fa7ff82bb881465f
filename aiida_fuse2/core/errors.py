"""Exceptions of the science core."""

from __future__ import annotations

import lzma
import reprlib
import struct
import zipfile
import zlib

MAX_VALUE_LENGTH = 120
"""Longest text of a value in a message, characters."""

MAX_MESSAGE_LENGTH = 600
"""Longest text of any other part of a message, characters."""

BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
)
"""What Python raises while it reads a zip that is broken, encrypted or of an unknown kind."""


def _short_repr() -> reprlib.Repr:
    """Return what writes a value of any size and depth in bounded time."""
    short = reprlib.Repr()
    short.maxlevel = 4
    short.maxdict = short.maxlist = short.maxtuple = short.maxset = 20
    short.maxstring = short.maxother = MAX_VALUE_LENGTH
    return short


_REPR = _short_repr()


def shown_value(value: object) -> str:
    """Return a value as Python writes it, in one line of bounded length; safe for a terminal."""
    try:
        text = _REPR.repr(value)
    except Exception:  # noqa: BLE001 - e.g. a whole number of more digits than Python writes
        text = f"({type(value).__name__})"
    return one_line(text, MAX_VALUE_LENGTH)


def one_line(text: object, limit: int = MAX_MESSAGE_LENGTH) -> str:
    """Return a text as one line of bounded length, safe for a terminal.

    Args:
        text: a text or an error; white space, line ends included, becomes one blank.
        limit: most characters of the text that are kept.
    """
    return printable(" ".join(str(text).split()), limit)


def printable_lines(text: object) -> str:
    """Return a text of any length and its lines as they are, with all else that a terminal would obey as escapes."""
    return "\n".join(printable(line, len(line)) for line in str(text).split("\n"))


def printable(text: object, limit: int = MAX_MESSAGE_LENGTH) -> str:
    """Return a text, or the name of a file, with all that a terminal would obey written as escapes.

    Args:
        text: control characters, line ends, marks of direction and bytes that are no text become escapes of Python.
        limit: most characters of the text that are kept.
    """
    whole = str(text)
    kept = whole if len(whole) <= limit else whole[:limit] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in kept)


class Fuse2Error(Exception):
    """Base class of every error that this package raises on purpose."""


class InputError(Fuse2Error, ValueError):
    """Bad input: names the field, the value and what would be right."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field = field
        self.value = value
        self.expected = expected
        super().__init__(f"{one_line(field, MAX_VALUE_LENGTH)} = {shown_value(value)}: {one_line(expected)}")

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


class RefusedInputsError(Fuse2Error, ValueError):
    """Inputs that AiiDA refuses, or of which none can be used."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))
