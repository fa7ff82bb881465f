"""Exceptions of the science core."""

from __future__ import annotations

import lzma
import math
import reprlib
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

MAX_VALUE_LENGTH = 120
"""Longest text of a value in a message, characters."""

MAX_MESSAGE_LENGTH = 600
"""Longest text of any other part of a message, characters."""

MAX_STORED_TEXT = 10_000
"""Longest text that is kept from a file of plain values, characters."""

MAX_DEPTH = 20
"""Largest number of levels of a file of plain values."""

OUT_OF_MEMORY = (
    "out of memory",
    "out_of_memory",
    "allocate memory",
    "not enough memory",
    "bad_alloc",
    "alloc_failed",
    "insufficient virtual memory",
)
"""What C++, Fortran, PyTorch and CUDA write if memory is lacking, in lower case."""

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
    """Return an object that writes a value of any size and depth in bounded time."""
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
    except Exception:  # noqa: BLE001 - e.g. a whole number with more digits than Python writes
        text = f"({type(value).__name__})"
    return one_line(text, MAX_VALUE_LENGTH)


def one_line(text: object, limit: int = MAX_MESSAGE_LENGTH) -> str:
    """Return a text as one line of bounded length, safe for a terminal and for every database.

    Args:
        text: a text or an error; white space, line ends included, becomes one space.
        limit: largest number of characters of the text that are kept.
    """
    return printable(" ".join(_text(text).split()), limit)


def printable_lines(text: object) -> str:
    """Return a text of any length with its line ends, everything else that a terminal would obey as escapes."""
    return "\n".join(printable(line, len(line)) for line in str(text).split("\n"))


def printable(text: object, limit: int = MAX_MESSAGE_LENGTH) -> str:
    """Return a text, or the name of a file, with everything that a terminal would obey written as escapes.

    PostgreSQL takes neither NUL nor lone surrogates; both are among what becomes an escape.

    Args:
        text: control characters, line ends, text-direction marks and bytes that are not text become Python escapes.
        limit: largest number of characters of the text that are kept.
    """
    whole = _text(text)
    kept = whole if len(whole) <= limit else whole[:limit] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in kept)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - an error of another library may have no text
        return f"({type(value).__name__})"


def error_text(error: BaseException, limit: int = MAX_MESSAGE_LENGTH) -> str:
    """Return the type and the text of an error of any library, as ``one_line`` does."""
    return one_line(f"{type(error).__name__}: {_text(error)}", limit)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or one that led to it, is a lack of memory; libraries have their own errors for this."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        text = _text(cause).lower()
        if isinstance(cause, MemoryError) or any(words in text for words in OUT_OF_MEMORY):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def storable(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Return plain values of a file as every database takes them: texts as ``printable`` writes them.

    Args:
        value: as JSON gives it.
        depth: largest number of levels of mappings and lists.

    Raises:
        ValueError: if a number is not finite, or there are too many levels.
    """
    if depth < 0:
        raise ValueError(f"has more than {MAX_DEPTH} levels")
    if isinstance(value, str):
        return printable(value, MAX_STORED_TEXT)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"holds {value}, which is not a number")
    if isinstance(value, Mapping):
        return {printable(key): storable(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item, depth - 1) for item in value]
    return value


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
    """A counted, named failure: ``reason`` is a short fixed identifier, ``detail`` is a text for people."""

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
    """Inputs that AiiDA refuses, or inputs of which none can be used."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))
