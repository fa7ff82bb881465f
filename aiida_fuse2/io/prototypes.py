"""Libraries of prototypes as files: extended XYZ, one prototype per structure; and the packaged library."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache

from aiida_fuse2.core.chemistry.composition import formula_unit
from aiida_fuse2.core.chemistry.ions import electronegativity
from aiida_fuse2.core.potentials.chgnet.build import BuildError, cache_folder
from aiida_fuse2.core.potentials.chgnet.kernel_cache import CacheError, alone, opened, read, write
from aiida_fuse2.core.prototypes.competing import KnownCompound
from aiida_fuse2.core.prototypes.encyclopedia import PACKAGE, build_encyclopedia, data_folder
from aiida_fuse2.core.prototypes.library import Prototype, PrototypeError

from .trials import from_extxyz, to_extxyz

FORMAT = 1
"""Version of the built library; it is part of the name of the file that keeps it."""

LOGGER = logging.getLogger(__name__)


def library_to_text(prototypes: Iterable[Prototype]) -> str:
    """Return a library as text; positions and cells to 1e-8 Å."""
    return to_extxyz((prototype.atoms, prototype.info()) for prototype in prototypes)


def library_from_text(text: str) -> list[Prototype]:
    """Return the prototypes of ``library_to_text``.

    Raises:
        PrototypeError: ``not_a_library`` if a structure lacks a value.
    """
    return [Prototype.from_atoms(atoms) for atoms in from_extxyz(text)]


def prototypes_of(text: str, counts: Sequence[int]) -> str:
    """Return the prototypes of an anonymous formula, as text; the others are not even read.

    Args:
        text: a library.
        counts: number of atoms of each element in the formula unit, in any order.

    Raises:
        PrototypeError: ``not_a_library`` if the text is none.
    """
    wanted = tuple(sorted(counts))
    return "".join(frame for found, frame in _frames(text) if found == wanted)


def formulas_of(text: str) -> Counter[tuple[int, ...]]:
    """Return the number of prototypes of each anonymous formula, as number of atoms of each element, fewest first.

    Args:
        text: a library.

    Raises:
        PrototypeError: ``not_a_library`` if the text is none.
    """
    return Counter(counts for counts, _ in _frames(text))


def compounds_of(text: str, elements: Collection[str]) -> list[KnownCompound]:
    """Return the compounds of a library that have only some elements, one for each prototype; no structure is read.

    Args:
        text: a library.
        elements: the elements.

    Raises:
        PrototypeError: ``not_a_library`` if the text is none.
    """
    found = []
    for _, frame in _frames(text):
        size, comment = frame.split("\n", 2)[:2]
        label = re.search(r"\blabel=\"?([A-Z0-9]+)_[^\s:\"]*:([A-Za-z-]+)", comment)
        own = label[2].split("-") if label is not None else []
        if label is None or not set(own) <= set(elements):
            continue
        counts = [int(number or 1) for number in re.findall(r"[A-Z](\d*)", label[1])]
        if len(counts) == len(own):
            of_element = dict(zip(own, counts, strict=True))
            unit = formula_unit({element: of_element[element] for element in sorted(own, key=electronegativity)})
            found.append(KnownCompound(unit=unit, n_atoms=int(size)))
    return found


def _frames(text: str) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield the anonymous formula and the text of each prototype of a library."""
    lines, start = text.splitlines(keepends=True), 0
    while start < len(lines):
        label = re.search(r"\blabel=\"?([A-Z0-9]+)_", lines[start + 1]) if start + 1 < len(lines) else None
        size = int(lines[start]) if re.fullmatch(r"\d{1,6}\s*", lines[start], re.ASCII) else 0
        if label is None or size < 1 or start + 2 + size > len(lines):
            raise PrototypeError("not_a_library", f"line {start + 1} begins no prototype")
        end = start + size + 2
        yield tuple(sorted(int(n or 1) for n in re.findall(r"[A-Z](\d*)", label[1]))), "".join(lines[start:end])
        start = end


def packaged_name() -> str:
    """Return name and version of the packaged library, e.g. ``kim-tools 0.4.15``.

    Raises:
        PrototypeError: ``not_installed`` if the package with its data is missing.
    """
    return f"{PACKAGE} {data_folder()[1]}"


@cache
def packaged_library() -> str:
    """Return the AFLOW encyclopedia as text; built once for each version of its package, which takes half a minute.

    Raises:
        PrototypeError: ``not_installed`` if the package with its data is missing.
    """
    name = _packaged_file()
    try:
        with opened(cache_folder()) as directory:
            kept = _kept(directory, name)
            if kept is None:
                with alone(directory):
                    kept = _kept(directory, name) or _build()[0]
                    write(directory, name, kept)
            return kept.decode()
    except (BuildError, CacheError, OSError) as error:
        LOGGER.warning("the library of prototypes is not kept: %s", error)
    return _build()[0].decode()


def packaged_is_built() -> bool:
    """Return whether the packaged library has been built for this version of its package, and is kept.

    Raises:
        PrototypeError: ``not_installed`` if the package with its data is missing.
    """
    name = _packaged_file()
    try:
        with opened(cache_folder()) as directory:
            return _kept(directory, name) is not None
    except (BuildError, CacheError, OSError):
        return False


def build_packaged_library() -> tuple[str, Counter[str]]:
    """Build the packaged library, even where there is one, and keep it.

    Returns:
        The library as text, and the number of entries that were left out, by reason.

    Raises:
        PrototypeError: ``not_installed`` if the package with its data is missing.
    """
    name = _packaged_file()
    built, refused = _build()
    try:
        with opened(cache_folder()) as directory, alone(directory):
            write(directory, name, built)
    except (BuildError, CacheError, OSError) as error:
        LOGGER.warning("the library of prototypes is not kept: %s", error)
    return built.decode(), refused


def _packaged_file() -> str:
    return f"prototypes-{PACKAGE}-{data_folder()[1]}-{FORMAT}.extxyz"


def _kept(directory: int, name: str) -> bytes | None:
    """Return the library in the cache; None if there is none, or it is damaged."""
    try:
        return read(directory, name)
    except CacheError as error:
        LOGGER.warning("the library of prototypes is built again: %s", error)
        return None


def _build() -> tuple[bytes, Counter[str]]:
    prototypes, refused = build_encyclopedia(data_folder()[0])
    LOGGER.info("%d prototypes; left out: %s", len(prototypes), dict(refused))
    return library_to_text(prototypes).encode(), refused
