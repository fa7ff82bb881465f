"""A library from structures that somebody has: files, a group, an archive, the answer of a server."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ase import Atoms
from matscipy.neighbours import neighbour_list

from aiida_fuse2.core.crystal.protostructure import bare
from aiida_fuse2.core.crystal.validity import Rejection, has_sound_cell
from aiida_fuse2.core.errors import one_line
from aiida_fuse2.core.settings import MAX_ATOMS_LIMIT

from .encyclopedia import SHORTEST_DISTANCE
from .library import Prototype, PrototypeError, make_prototype

MAX_ATOMS_GIVEN = 4 * MAX_ATOMS_LIMIT
"""Largest number of atoms of a cell whose primitive cell is looked for."""

PARTIAL = "partial_occupancy"
UNREADABLE = "unreadable"
REPEATED = "repeated_key"


@dataclass(frozen=True, eq=False, kw_only=True)
class Given:
    """A structure that may become a prototype, or the reason why there is none.

    Attributes:
        key: leads back to it: a UUID, the name of a file.
        source: where it comes from, for people.
        atoms: the structure, or None.
        reason: identifier of the reason why there is none.
        detail: the reason for people.
    """

    key: str
    source: str
    atoms: Atoms | None
    reason: str = UNREADABLE
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What became of some structures.

    Attributes:
        prototypes: the prototypes, in the order of the structures.
        left_out: key, identifier of the reason, and reason for people of each other structure.
    """

    prototypes: list[Prototype]
    left_out: list[tuple[str, str, str]]

    @property
    def reasons(self) -> dict[str, int]:
        """Number of structures that were left out, by reason."""
        return dict(Counter(reason for _, reason, _ in self.left_out))


def plain_key(text: str) -> str:
    """Return a name as a key: one word that extended XYZ gives back as it is."""
    return re.sub(r"[^\w.\-\[\]:+]", "_", text)


def gather(structures: Iterable[Given]) -> Gathered:
    """Return the prototypes of some structures, read one after the other.

    Each becomes its primitive cell. Left out are those with sites that are shared or not full, without periodicity or
    symmetry, with a primitive cell of more than ``MAX_ATOMS_LIMIT`` atoms, or with atoms nearer than
    ``SHORTEST_DISTANCE``.

    Args:
        structures: the structures, which need not be in memory together.
    """
    prototypes: list[Prototype] = []
    left_out: list[tuple[str, str, str]] = []
    seen: set[str] = set()
    for given in structures:
        key = plain_key(given.key)
        try:
            if key in seen:
                raise PrototypeError(REPEATED, "has the key of another one")
            prototypes.append(_prototype(given, key))
            seen.add(key)
        except PrototypeError as error:
            left_out.append((given.key, error.reason, one_line(error.detail or error.reason)))
    return Gathered(prototypes=prototypes, left_out=left_out)


def _prototype(given: Given, key: str) -> Prototype:
    """Return the prototype of a structure.

    Raises:
        PrototypeError: with the reason why it can be none.
    """
    atoms = given.atoms
    if atoms is None:
        raise PrototypeError(given.reason, given.detail)
    if len(atoms) == 0 or atoms.numbers.min() < 1:
        raise PrototypeError(UNREADABLE, "has no atoms, or some of no known element")
    if not atoms.pbc.all():
        raise PrototypeError("not_periodic", "is not periodic in three directions")
    if len(atoms) > MAX_ATOMS_GIVEN:
        raise PrototypeError(Rejection.SIZE, f"has {len(atoms)} atoms; at most {MAX_ATOMS_GIVEN} are read")
    if not has_sound_cell(atoms):
        raise PrototypeError(Rejection.CELL, "has a cell or positions that are no numbers, flat or gigantic")
    if len(neighbour_list("i", bare(atoms), SHORTEST_DISTANCE)):
        raise PrototypeError(Rejection.CONTACT, f"has atoms nearer than {SHORTEST_DISTANCE} Å")
    source = given.source.replace("\\", "/")  # extended XYZ has no backslash
    made = make_prototype(atoms, key=key, source=source)
    if len(made.atoms) > MAX_ATOMS_LIMIT:
        raise PrototypeError(
            Rejection.SIZE, f"has {len(made.atoms)} atoms in its primitive cell; at most {MAX_ATOMS_LIMIT}"
        )
    return made
