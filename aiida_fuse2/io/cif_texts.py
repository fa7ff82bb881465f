"""CIF: data blocks, and the crystal of one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

import gemmi
import numpy as np
from ase.geometry import cellpar_to_cell
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from aiida_fuse2.core.crystal.uniqueness import are_equal
from aiida_fuse2.core.generators.provided import FULL_OCCUPANCY_TOLERANCE

from .cif_symmetry import FOREIGN, LISTED, Operations, Symmetry, find_symmetry
from .structure_texts import (
    MAX_ATOMS_READ,
    MAX_STRUCTURE_LENGTH,
    Parsed,
    UnusableTextError,
    element_symbol,
    parsed,
    shown,
    too_long,
    too_many,
)

MAX_EQUIVALENT = 10 * MAX_ATOMS_READ
"""Largest number of sites times symmetry operations of a CIF; atoms on special positions are fewer."""

MAX_FIELD_LENGTH = 1000
"""Largest number of characters kept of a text field: they can hold reflections and whole papers."""

MAX_MERGE_DISTANCE = 0.1
"""Images of one site that are nearer to each other than this are one atom, Å: 1/3 is written as 0.333, or 0.33."""

MIN_IMAGE_DISTANCE = 0.5
"""Smallest distance of other images, Å: two atoms of hydrogen are 0.74 Å apart."""

MAX_COMPARED = 400
"""Largest number of atoms of crystals that are compared if a name stands for several settings."""

SAME_CRYSTAL = 0.02
"""Largest displacement of atoms for which these are one crystal, in units of (volume per atom)^(1/3)."""

_BAD_OCCUPANCY = "has partial occupancies; give an ordered structure"

_UNKNOWN = {"", "?", "."}


# --- data blocks ----------------------------------------------------------------------------------


def cif_texts(stream: TextIO) -> Iterator[str | UnusableTextError]:
    """Yield the data blocks of a CIF, without the content of long text fields."""
    block: list[str] = []
    length = field_length = field_start = 0
    in_field = is_skipping = False
    while True:
        line = stream.readline(MAX_STRUCTURE_LENGTH)
        if not line and in_field:  # a field without end: the text in it is searched once more
            yield "".join(block)
            stream.seek(field_start)
            in_field, is_skipping, block = False, True, []
            continue
        is_start = not in_field and re.match(r"\s*data_", line, re.IGNORECASE) is not None
        if not line or is_start:
            if not is_skipping and "".join(block).strip():
                yield "".join(block)
            if not line:
                return
            block, length, is_skipping = [], 0, False
        if line.startswith(";"):
            in_field = not in_field
            field_length = 0
            if in_field:
                field_start = stream.tell()
        field_length += len(line)
        if is_skipping or (in_field and field_length > MAX_FIELD_LENGTH and not line.startswith(";")):
            continue
        length += len(line)
        if length > MAX_STRUCTURE_LENGTH:
            yield too_long()
            block, is_skipping = [], True
            continue
        block.append(line)


@dataclass(frozen=True)
class Block:
    """The values of a data block, by tag in lower case with underscores for dots."""

    values: dict[str, list[str]]

    @classmethod
    def of(cls, text: str) -> Block:
        """Read a text with one data block.

        Raises:
            UnusableTextError: if it is not a CIF.
        """
        plain = text.translate({0xA0: " ", 0x2212: "-"}).encode("ascii", "replace").decode()
        try:
            document = gemmi.cif.read_string(plain, check_level=0)
        except (RuntimeError, ValueError) as error:
            place = re.match(r"string:(\d+)", str(error))
            lines = plain.split("\n")
            words = "" if place is None else lines[min(int(place[1]), len(lines)) - 1]
            at = f" (at {shown(words)})" if words.strip() else ""
            raise UnusableTextError(f"cannot be read: is not a CIF, or a broken one{at}") from None
        values: dict[str, list[str]] = {}
        for block in document:
            for item in block:
                tags, texts = ([], []) if item.loop is None else (item.loop.tags, item.loop.values)
                if item.pair is not None:
                    tags, texts = [item.pair[0]], [item.pair[1]]  # type: ignore[index]
                for i, tag in enumerate(tags):
                    strings = [gemmi.cif.as_string(text).strip() for text in texts[i :: len(tags)]]
                    values.setdefault(tag.lower().replace(".", "_"), []).extend(strings)
        return cls(values)

    def column(self, tag: str) -> list[str]:
        """Return the values of a tag; none if it is absent."""
        return self.values.get(tag, [])

    def value(self, tags: tuple[str, ...]) -> str | None:
        """Return the value of the first of some tags that has one, or None.

        Raises:
            UnusableTextError: if it has several.
        """
        for tag in tags:
            known = {text for text in self.column(tag) if text not in _UNKNOWN}
            if len(known) > 1:
                raise UnusableTextError(f"gives {tag} more than once")
            if known:
                return known.pop()
        return None

    def number(self, tag: str) -> float:
        """Return the value of a tag as a number.

        Raises:
            UnusableTextError: if it is none.
        """
        text = self.value((tag,))
        if text is None:
            raise UnusableTextError(f"has no unit cell: no {tag}")
        return _number(text, tag)


def _number(text: str, what: str) -> float:
    """Return a number that may have an uncertainty, as in ``0.25(3)``."""
    value = float(gemmi.cif.as_number(text))
    if not np.isfinite(value):
        raise UnusableTextError(f"cannot be read: {shown(text)} where {what} should be")
    return value


# --- the crystal ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Sites:
    """The sites of a block.

    Attributes:
        labels: labels of the sites.
        symbols: symbols of their elements.
        places: fractional coordinates, shape (n, 3).
        warnings: texts about what was omitted.
    """

    labels: list[str]
    symbols: list[str]
    places: NDArray[np.float64]
    warnings: list[str]


def read_block(text: str) -> Parsed | None:
    """Return the crystal of a data block, or None if it holds no atoms.

    Raises:
        UnusableTextError: if the crystal cannot be read for certain.
    """
    block = Block.of(text)
    n_sites = max((len(texts) for tag, texts in block.values.items() if tag.startswith("_atom_site_fract_")), default=0)
    if not n_sites:
        if any(tag.startswith("_atom_site_cartn_") for tag in block.values):
            raise UnusableTextError("has no fractional coordinates")
        return None
    if n_sites > MAX_ATOMS_READ:
        raise UnusableTextError(too_many(n_sites))
    for start, words in FOREIGN.items():
        if any(tag.startswith(start) and not set(texts) <= _UNKNOWN for tag, texts in block.values.items()):
            raise UnusableTextError(words)
    cell = _cell(block)
    sites = _sites(block, n_sites)
    symmetry = find_symmetry(_operations(block), block.value, cell)
    crystal = _the_one(symmetry, sites, cell)
    crystal.warnings[:0] = [*sites.warnings, *symmetry.warnings]
    if any(tag.startswith("_atom_site_moment_") for tag in block.values):
        crystal.warnings.append("its magnetic moments are ignored")
    return crystal


def _cell(block: Block) -> NDArray[np.float64]:
    """Return the lattice vectors as rows, Å, shape (3, 3)."""
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    values = np.array([block.number(f"_cell_{name}") for name in names])
    cosines = np.cos(np.radians(values[3:]))
    squared = 1 - (cosines**2).sum() + 2 * cosines.prod()  # volume of unit vectors
    if (values[:3] <= 0).any() or ((values[3:] <= 0) | (values[3:] >= 180)).any() or squared <= 0:
        raise UnusableTextError("has lengths and angles that make no unit cell")
    cell: NDArray[np.float64] = cellpar_to_cell(values)
    return cell


def _operations(block: Block) -> list[str]:
    """Return the listed operations.

    Raises:
        UnusableTextError: if one is unknown.
    """
    lists = [texts for tag in LISTED if not set(texts := block.column(tag)) <= _UNKNOWN]
    if any(text in _UNKNOWN for texts in lists for text in texts):
        raise UnusableTextError("lists symmetry operations of which some are unknown")
    if len({frozenset(re.sub(r"\s", "", text.lower()) for text in texts) for texts in lists}) > 1:
        raise UnusableTextError("lists two different sets of symmetry operations")
    return lists[0] if lists else []


def _sites(block: Block, n_sites: int) -> _Sites:
    """Return the sites of a block.

    Raises:
        UnusableTextError: if a site has no position or no element, or is not full.
    """

    def column(name: str) -> list[str]:
        texts = block.column(f"_atom_site_{name}") or ["?"] * n_sites
        if len(texts) != n_sites:
            raise UnusableTextError(f"cannot be read: gives _atom_site_{name} for {len(texts)} of {n_sites} sites")
        return texts

    real = [i for i, flag in enumerate(column("calc_flag")) if flag.lower() != "dum"]
    columns = {name: [column(name)[i] for i in real] for name in ("label", "type_symbol", "occupancy")}
    labels = [
        label if label not in _UNKNOWN else f"number {i + 1}" for i, label in zip(real, columns["label"], strict=True)
    ]
    places = np.array(
        [[_coordinate(column(f"fract_{axis}")[i], column("label")[i]) for axis in "xyz"] for i in real]
    ).reshape(-1, 3)
    symbols = [
        element_symbol(kind) if kind not in _UNKNOWN else _of_label(label)
        for kind, label in zip(columns["type_symbol"], columns["label"], strict=True)
    ]
    if any(
        text not in _UNKNOWN and _number(text, "a number of hydrogen atoms") for text in column("attached_hydrogens")
    ):
        raise UnusableTextError("has hydrogen atoms without coordinates (_atom_site_attached_hydrogens)")
    _refuse_alternatives([column("disorder_assembly")[i] for i in real], [column("disorder_group")[i] for i in real])
    occupancies = [1.0 if text in _UNKNOWN else _number(text, "an occupancy") for text in columns["occupancy"]]
    kept = _full_sites(symbols, places, occupancies)
    n_dummies = n_sites - len(real)
    warnings = [f"{n_dummies} dummy sites are ignored"] if n_dummies else []
    return _Sites([labels[i] for i in kept], [symbols[i] for i in kept], places[kept], warnings)


def _coordinate(text: str, label: str) -> float:
    if text in _UNKNOWN:
        raise UnusableTextError(f"has no coordinates for {shown(label)}")
    return _number(text, "a coordinate")


def _of_label(label: str) -> str:
    """Return the symbol of the element that a label of an atom begins with: ``Sr1`` and ``O2a``, but not ``Wat``."""
    found = re.fullmatch(r"([A-Za-z]{1,2})(?![A-Za-z])[^A-Z]*", label)
    if found is None:
        raise UnusableTextError(f"cannot be read: {shown(label)} is not a known element")
    return element_symbol(found[1])


def _refuse_alternatives(assemblies: Sequence[str], groups: Sequence[str]) -> None:
    """Refuse sites of which only some are occupied at a time."""
    found: dict[str, set[str]] = {}
    for assembly, group in zip(assemblies, groups, strict=True):
        if group not in _UNKNOWN | {"0"}:
            found.setdefault(assembly, set()).add(group)
    if any(len(names) > 1 or any(name.startswith("-") for name in names) for names in found.values()):
        raise UnusableTextError(
            "has alternative sites (disorder groups), i.e. partial occupancies; give an ordered one"
        )


def _full_sites(symbols: Sequence[str], places: NDArray[np.float64], occupancies: Sequence[float]) -> list[int]:
    """Return the indices of the sites; of sites that share a position and an element and fill it together, one.

    Raises:
        UnusableTextError: if one is not full.
    """
    shared: dict[tuple[str, ...], list[int]] = {}
    for i, (symbol, place) in enumerate(zip(symbols, places, strict=True)):
        key = (symbol, *map(str, place)) if occupancies[i] < 1 - FULL_OCCUPANCY_TOLERANCE else (str(i),)
        shared.setdefault(key, []).append(i)
    for indices in shared.values():
        if not abs(sum(occupancies[i] for i in indices) - 1) <= FULL_OCCUPANCY_TOLERANCE:
            raise UnusableTextError(_BAD_OCCUPANCY)
    return [indices[0] for indices in shared.values()]


def _the_one(symmetry: Symmetry, sites: _Sites, cell: NDArray[np.float64]) -> Parsed:
    """Return the crystal, which must be the same for all possible settings.

    Raises:
        UnusableTextError: if they give several crystals, or none.
    """
    first, *others = [
        _crystal(operations, sites, cell, is_only=len(symmetry.choices) == 1) for operations in symmetry.choices
    ]
    if any(first is None or other is None or not _is_same(first, other) for other in others):
        raise UnusableTextError(
            f"has an ambiguous symmetry: {symmetry.said} stands for {len(symmetry.choices)} settings that fit the cell"
            " and make different crystals; give the operations"
        )
    assert first is not None  # noqa: S101
    return first


def _is_same(first: Parsed, other: Parsed) -> bool:
    a, b = first.atoms, other.atoms
    if len(a) != len(b) or a.get_chemical_formula() != b.get_chemical_formula():
        return False
    return len(a) <= MAX_COMPARED and are_equal(a, b, stol=SAME_CRYSTAL)


def _crystal(operations: Operations, sites: _Sites, cell: NDArray[np.float64], *, is_only: bool) -> Parsed | None:
    """Return the atoms of a cell.

    Raises:
        UnusableTextError: if atoms overlap or are too many, and these are the only operations; else None is returned.
    """
    try:
        return _filled(operations, sites, cell)
    except UnusableTextError:
        if is_only:
            raise
        return None


def _filled(operations: Operations, sites: _Sites, cell: NDArray[np.float64]) -> Parsed:
    n_operations = len(operations.rotations)
    if len(sites.places) * n_operations > MAX_EQUIVALENT:
        raise UnusableTextError(
            f"has {len(sites.places)} sites and {n_operations} symmetry operations, which is too many atoms"
        )
    places, owners = np.empty((0, 3)), []
    for i, place in enumerate(sites.places):
        images = _images(operations, place, cell)
        if images is None:
            label = sites.labels[i]
            raise UnusableTextError(f"has images of {label} that overlap: it is near a symmetry element, not on it")
        places = np.concatenate([places, images])
        owners += [i] * len(images)
        if len(places) > MAX_ATOMS_READ:
            raise UnusableTextError(too_many(n_operations * len(sites.places)))
    pair = _overlap(places, cell)
    if pair is not None:
        names = " and ".join(sorted(sites.labels[owners[i]] for i in pair))
        raise UnusableTextError(f"has {names} on one site: partial occupancies, or an atom that is listed twice")
    return parsed([sites.symbols[i] for i in owners], scaled_positions=places, cell=cell, pbc=True)


def _images(
    operations: Operations, place: NDArray[np.float64], cell: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the images of a site, shape (k, 3), or None if they overlap.

    A site whose images are nearer than ``MAX_MERGE_DISTANCE`` is moved to their mean, onto its symmetry element.
    """
    shifts = operations.rotations @ place + operations.translations - place
    shifts -= np.round(shifts)
    is_near = np.linalg.norm(shifts @ cell, axis=1) <= MAX_MERGE_DISTANCE
    middle = place + shifts[is_near].mean(axis=0)
    images = operations.rotations @ middle + operations.translations
    images -= np.floor(images)
    away = images[:, None] - images[None]
    away -= np.round(away)
    is_equal = (np.abs(away) < 1e-6).all(axis=2)
    first = np.unique(is_equal.argmax(axis=1))
    distances = np.linalg.norm(away[np.ix_(first, first)] @ cell, axis=2)
    np.fill_diagonal(distances, np.inf)
    if is_equal.sum() * len(first) != len(images) ** 2 or distances.min() < MIN_IMAGE_DISTANCE:
        return None
    unique: NDArray[np.float64] = images[first]
    return unique


def _overlap(places: NDArray[np.float64], cell: NDArray[np.float64]) -> tuple[int, int] | None:
    """Return two atoms at one position, or None."""
    if len(places) < 2:
        return None
    wrapped = places - np.floor(places)
    wrapped[wrapped >= 1] = 0
    lengths = np.linalg.norm(cell, axis=1)
    _, nearest = cKDTree(wrapped * lengths, boxsize=lengths).query(wrapped * lengths, k=2)
    for own in range(2):  # an atom at the same position can be the first or the second of the two
        away = places - places[nearest[:, own]]
        away -= np.round(away)
        is_close = (np.linalg.norm(away @ cell, axis=1) <= MAX_MERGE_DISTANCE) & (
            nearest[:, own] != np.arange(len(places))
        )
        if is_close.any():
            i = int(is_close.argmax())
            return i, int(nearest[i, own])
    return None
