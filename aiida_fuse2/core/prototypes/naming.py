"""The structure type of a structure: which prototype of a library it is.

Two structures of one space group with the same number of atoms in the conventional cell can be different types
(marcasite and CaCl2, anatase and α-ThSi2), even with the same Wyckoff letters. So a type is given only where the
geometry matches as well, scaled and with any elements; of several that do, the nearest.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ase import Atoms

from aiida_fuse2.core.crystal.protostructure import bare, protostructure_label, type_label
from aiida_fuse2.core.crystal.symmetry import SymmetryError, conventional_size

from .library import Prototype, anonymous_counts

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher

SYMPRECS = (0.1, 0.05, 0.01)
"""Tolerances for the space group of a relaxed structure, Å: the first in which it is a type gives its name.

Relaxed structures are displaced from their symmetry by a few hundredths of an Å."""

PARENT_SYMPRECS = (0.2, 0.3, 0.4, 0.5)
"""Tolerances for the type that a structure is a distortion of, Å."""

LARGEST_DISPLACEMENT = 0.2
"""Largest rms displacement of a structure from its type, over (volume per atom)^(1/3). Of the 170 pairs of types of the
AFLOW encyclopedia with equal labels and at most 16 atoms, 42 match within it: of several types the nearest is taken."""

LARGEST_STRAIN = 0.3
"""Largest relative difference of lattice vectors after scaling; c/a varies within a type."""

LARGEST_TILT = 10.0
"""Largest difference of angles, degrees."""

ENANTIOMORPHS = {78: 76, 95: 91, 96: 92, 145: 144, 153: 151, 154: 152, 170: 169, 172: 171, 179: 178, 181: 180, 213: 212}
"""Space groups of left-handed and right-handed forms of one structure."""

TRICLINIC = frozenset({1, 2})
"""Space groups in which equal labels say nothing: almost all atoms are on general positions."""

ISOPOINTAL = "isopointal with "
"""Beginning of the name of a structure whose type has the same label, and another geometry."""

UNKNOWN = "unknown type"
"""Name of a structure whose type is not in the library."""


def is_known_type(name: str | None) -> bool:
    """Return whether the name of a type says that the type is known; without a name it is not."""
    return bool(name) and not str(name).startswith((UNKNOWN, ISOPOINTAL))


@dataclass(frozen=True)
class TypeName:
    """The structure type of a structure.

    Attributes:
        text: name for people: that of the type, ``isopointal with ...``, or ``unknown type``.
        key: key of the prototype in its library, or empty.
    """

    text: str
    key: str = ""


class TypeIndex:
    """The prototypes of a library, to find the type of a structure."""

    def __init__(self, prototypes: Iterable[Prototype]) -> None:
        self._of: dict[tuple[tuple[int, ...], int, int], list[Prototype]] = defaultdict(list)
        for prototype in prototypes:
            _, pearson, number, *_ = prototype.label.split("_")
            self._of[prototype.counts, _right_handed(int(number)), int(re.sub(r"\D", "", pearson))].append(prototype)

    def name(self, atoms: Atoms) -> TypeName:
        """Return the type of a structure, and what it is a distortion of, if that is another type.

        Args:
            atoms: the structure, relaxed; not changed.
        """
        found = {symprec: self._candidates(atoms, symprec) for symprec in (*SYMPRECS, *PARENT_SYMPRECS)}
        own = _first_match(atoms, (found[symprec] for symprec in SYMPRECS))
        groups = (found[symprec] for symprec in PARENT_SYMPRECS)
        parent = _first_match(atoms, (group for group in groups if own not in group))
        if own is not None and parent is not None:
            return TypeName(f"{own.title}, distorted {parent.name}", own.key)
        matched = own if own is not None else parent
        if matched is not None:
            return TypeName(matched.title, matched.key)
        isopointal = next((p for symprec in SYMPRECS if (p := _isopointal(atoms, symprec, found[symprec]))), None)
        return TypeName(UNKNOWN) if isopointal is None else TypeName(f"{ISOPOINTAL}{isopointal.title}")

    def _candidates(self, atoms: Atoms, symprec: float) -> list[Prototype]:
        """Return the prototypes with the space group and the size of the conventional cell of a structure."""
        try:
            number, size = conventional_size(atoms, symprec)
        except SymmetryError:
            return []
        return self._of.get((anonymous_counts(atoms), _right_handed(number), size), [])


def _first_match(atoms: Atoms, groups: Iterable[list[Prototype]]) -> Prototype | None:
    """Return the nearest prototype of the first group that has one of the structure's type."""
    seen: list[Prototype] = []
    for group in groups:
        fresh = [prototype for prototype in group if prototype not in seen]
        seen += fresh
        matched = _nearest(atoms, fresh)
        if matched is not None:
            return matched
    return None


def _isopointal(atoms: Atoms, symprec: float, prototypes: Iterable[Prototype]) -> Prototype | None:
    """Return the first prototype with the label of a structure, or None."""
    prototypes = [p for p in prototypes if int(p.label.split("_")[2]) not in TRICLINIC]
    if not prototypes:
        return None
    label = protostructure_label(atoms, symprec)
    own = None if label is None else type_label(label)
    return next((prototype for prototype in prototypes if prototype.type_label == own), None)


def _right_handed(number: int) -> int:
    return ENANTIOMORPHS.get(number, number)


@cache
def _matcher() -> StructureMatcher:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(
        ltol=LARGEST_STRAIN, stol=LARGEST_DISPLACEMENT, angle_tol=LARGEST_TILT, attempt_supercell=False
    )


def type_displacement(a: Atoms, b: Atoms) -> float | None:
    """Return the rms displacement of two structures as types, over (volume per atom)^(1/3); None for different types.

    Both are scaled to one volume, and any element can stand for any other.

    Args:
        a: a structure; not changed.
        b: another one; not changed.
    """
    from pymatgen.io.ase import AseAtomsAdaptor

    first, second = (AseAtomsAdaptor.get_structure(bare(atoms)) for atoms in (a, b))
    found = _matcher().get_rms_anonymous(first, second)[0]
    return None if found is None else float(found)


def _nearest(atoms: Atoms, prototypes: Iterable[Prototype]) -> Prototype | None:
    """Return the prototype that a structure is displaced least from, or None if it is none of them."""
    found = [(type_displacement(atoms, prototype.atoms), prototype) for prototype in prototypes]
    near = [(distance, prototype) for distance, prototype in found if distance is not None]
    return min(near, key=lambda pair: pair[0])[1] if near else None
