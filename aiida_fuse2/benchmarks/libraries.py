"""The library of prototypes of a benchmark: the packaged one, or a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from aiida_fuse2.core.errors import InputError, ReasonedError, one_line
from aiida_fuse2.core.generators import get_generator
from aiida_fuse2.core.generators.prototypes import usable
from aiida_fuse2.core.prototypes.library import PrototypeError
from aiida_fuse2.core.prototypes.naming import TypeIndex
from aiida_fuse2.core.settings import SearchSettings
from aiida_fuse2.io.prototypes import (
    library_from_text,
    library_to_text,
    packaged_library,
    packaged_name,
    prototypes_of,
)

FORM = "must be a library of prototypes: extended XYZ with key, name, compound, source and label of each structure"

DIGEST_LENGTH = 12
"""Digits of a file's SHA-256 that are part of the name of its library."""


@dataclass(frozen=True)
class Library:
    """A library of prototypes.

    Attributes:
        name: name and version, or name and digest of the file.
        text: its prototypes as extended XYZ.
    """

    name: str
    text: str

    def of(self, settings: SearchSettings) -> str:
        """Return the prototypes that the composition of a search can adopt, as text."""
        return prototypes_of(self.text, list(settings.unit.as_dict().values()))


@cache
def read_library(path: Path | None = None) -> Library | None:
    """Read a library, once in each process.

    Args:
        path: file of a library; the packaged library if None.

    Returns:
        The library; None if it is the packaged one and its data are not installed.

    Raises:
        InputError: if the file cannot be read, or is no library.
    """
    if path is None:
        try:
            return Library(packaged_name(), packaged_library())
        except PrototypeError:
            return None
    if not path.is_file():
        raise InputError("--prototypes", str(path), "is not a file" if path.exists() else "there is no such file")
    try:
        content = path.read_bytes()
        prototypes = library_from_text(content.decode())
        TypeIndex(prototypes)  # needs a label of each
    except OSError as error:
        raise InputError("--prototypes", str(path), f"cannot be read: {error.strerror}") from error
    except (ReasonedError, ValueError, KeyError, IndexError) as error:
        raise InputError("--prototypes", str(path), f"{FORM} ({one_line(error)})") from error
    if not prototypes:
        raise InputError("--prototypes", str(path), FORM)
    name = f"{path.name} {sha256(content).hexdigest()[:DIGEST_LENGTH]}"
    return Library(name, library_to_text(prototypes))


def count_by_space_group(text: str, settings: SearchSettings) -> dict[int, int]:
    """Return the number of prototypes that a search may begin with, by space group.

    Args:
        text: prototypes of the anonymous formula.
        settings: settings of the search: composition, limit of atoms, and what is left out.
    """
    found = usable(library_from_text(text), settings.unit, settings.prototypes.leave_out)
    fitting = [prototype for prototype in found if len(prototype.atoms) <= settings.initial_limit]
    return dict(sorted(Counter(int(prototype.label.split("_")[2]) for prototype in fitting).items()))


def needs_library(generators: Collection[str]) -> bool:
    """Return whether one of the generators begins with prototypes."""
    return any(get_generator(name).needs_library for name in generators)
