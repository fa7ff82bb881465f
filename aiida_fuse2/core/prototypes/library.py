"""A prototype: a known crystal structure that other compositions can adopt.

A library is a list of prototypes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import gcd
from typing import Any

from ase import Atoms

from aiida_fuse2.core.crystal.protostructure import bare, protostructure_label, type_label
from aiida_fuse2.core.crystal.symmetry import SymmetryError, primitive_cell
from aiida_fuse2.core.errors import ReasonedError

LABEL_SYMPREC = 0.01
"""Tolerance for the label of a prototype, Å: files give coordinates with as few as four digits."""


class PrototypeError(ReasonedError):
    """A structure cannot be a prototype."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Prototype:
    """A structure that other compositions can adopt.

    Attributes:
        key: its name in the library, unique.
        name: name of the type, for people, e.g. ``Spinel``; its compound if it has none.
        compound: formula of the compound that has this structure.
        source: where it comes from, for people: a work, a database with its number, or a node.
        label: protostructure label.
        atoms: primitive cell; numbers, positions and cell only.
    """

    key: str
    name: str
    compound: str
    source: str
    label: str
    atoms: Atoms

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of atoms of each element in the formula unit, fewest first."""
        return anonymous_counts(self.atoms)

    @property
    def pearson(self) -> str:
        """Pearson symbol, e.g. ``cF56``."""
        return self.label.split("_")[1]

    @property
    def type_label(self) -> str:
        """Label that all structures of one isopointal type have in common."""
        return type_label(self.label)

    @property
    def title(self) -> str:
        """Name for people, e.g. ``Spinel (MgAl2O4, cF56)``."""
        return (
            f"{self.name} ({self.pearson})"
            if _is_formula(self.name, self.compound)
            else (f"{self.name} ({self.compound}, {self.pearson})")
        )

    def info(self) -> dict[str, str]:
        """Return everything but the atoms, as plain values."""
        return {name: getattr(self, name) for name in ("key", "name", "compound", "source", "label")}

    @classmethod
    def from_atoms(cls, atoms: Atoms) -> Prototype:
        """Return the prototype of a structure whose ``info`` has its values.

        Raises:
            PrototypeError: ``not_a_library`` if a value is missing.
        """
        missing = [name for name in ("key", "name", "compound", "source", "label") if name not in atoms.info]
        if missing:
            raise PrototypeError("not_a_library", f"a structure without {', '.join(missing)}")
        values: dict[str, Any] = {
            name: str(atoms.info[name]) for name in ("key", "name", "compound", "source", "label")
        }
        if not isinstance(atoms.info["compound"], str):  # extended XYZ reads InF as infinite and NaN as no number
            values["compound"] = _compound(atoms)
        if not isinstance(atoms.info["name"], str):
            values["name"] = values["compound"]
        return cls(**values, atoms=bare(atoms))


def _is_formula(name: str, compound: str) -> bool:
    """Return whether a name is a formula of a compound."""
    from pymatgen.core import Composition

    try:
        return bool(Composition(name).reduced_composition == Composition(compound).reduced_composition)
    except ValueError:
        return False


def _compound(atoms: Atoms) -> str:
    from pymatgen.core import Composition

    return str(Composition(atoms.get_chemical_formula()).reduced_formula)


def anonymous_counts(atoms: Atoms) -> tuple[int, ...]:
    """Return the number of atoms of each element in the formula unit, fewest first."""
    counts = sorted(atoms.symbols.formula.count().values())
    divisor = reduce(gcd, counts)
    return tuple(count // divisor for count in counts)


def make_prototype(atoms: Atoms, *, key: str, source: str, name: str = "") -> Prototype:
    """Return the prototype of a structure.

    Args:
        atoms: the structure, in any cell; not changed.
        key: its name in the library.
        source: where it comes from, for people.
        name: name of the type; if empty, the compound's formula.

    Raises:
        PrototypeError: ``no_symmetry`` if spglib cannot read it.
    """
    try:
        primitive = primitive_cell(bare(atoms), LABEL_SYMPREC)
    except SymmetryError as error:
        raise PrototypeError("no_symmetry", str(error)) from error
    label = protostructure_label(primitive, LABEL_SYMPREC)
    if label is None:
        raise PrototypeError("no_symmetry", f"{key} has no protostructure label")
    compound = _compound(primitive)
    return Prototype(key=key, name=name or compound, compound=compound, source=source, label=label, atoms=primitive)
