"""Writing files: nothing is overwritten without --force, and errors are reported in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aiida_fuse2.cli.params.options import CommandError
from aiida_fuse2.core.errors import Fuse2Error, printable

MAX_PATH_SHOWN = 200
"""Longest path in an error, characters."""


@contextmanager
def reported_writing(target: Path) -> Iterator[None]:
    """Report in one line that a file, or files in a folder, cannot be written."""
    try:
        yield
    except Fuse2Error:
        raise
    except (OSError, ValueError) as error:  # a name that no file can have is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise CommandError(f"cannot write to {printable(target, MAX_PATH_SHOWN)}: {reason}") from error


def check_absent(paths: Sequence[Path], *, force: bool) -> None:
    """Refuse to overwrite files, or the targets of links, without --force.

    Raises:
        CommandError: if one of them exists.
    """
    existing = [path for path in paths if path.exists() or path.is_symlink()]
    if existing and not force:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise CommandError(f"{printable(existing[0])} exists{more}; overwrite with --force")


def check_output(path: Path, *, force: bool) -> None:
    """Check that a file can be written, before anything is computed for it.

    Raises:
        CommandError: if it cannot.
    """
    with reported_writing(path):
        check_absent([path], force=force)


def write_page(path: Path, text: str) -> None:
    """Write a file, and its folder if it does not exist.

    Raises:
        CommandError: if it cannot be written.
    """
    with reported_writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
