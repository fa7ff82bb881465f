"""What a composition becomes in a structure type: which element takes which place, and in which volume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.crystal.protostructure import bare
from aiida_fuse2.core.crystal.uniqueness import are_equal

from .library import Prototype

COMPARED_VOLUME = 12.0
"""Volume in which decorations are compared, Å³ per atom."""

EQUAL_TYPES = 0.05
"""Largest rms displacement of two decorations that are one type, over (volume per atom)^(1/3).

Relaxed structures that count as equal may differ by twice as much; but FeSi with its elements exchanged lies within
that of FeSi."""


@dataclass(frozen=True, eq=False)
class Decoration:
    """A prototype in which the elements of a composition take the places of its own.

    Attributes:
        prototype: the prototype.
        elements: element of the composition by that of the prototype.
    """

    prototype: Prototype
    elements: Mapping[str, str]

    @property
    def text(self) -> str:
        """The decoration for people, e.g. ``Al>Ti, Mg>Sr``: which element of the prototype became which."""
        return ", ".join(f"{own}>{new}" for own, new in sorted(self.elements.items()))

    def atoms(self) -> Atoms:
        """Return the structure; its volume is scaled by that of the covalent spheres of the atoms."""
        source = self.prototype.atoms
        atoms = bare(source)
        atoms.symbols = [self.elements[symbol] for symbol in source.get_chemical_symbols()]
        factor = float(np.cbrt(_spheres(atoms) / _spheres(source)))
        atoms.set_cell(atoms.cell.array * factor, scale_atoms=True)
        return atoms

    @property
    def distance(self) -> float:
        """Mean difference of the Mendeleev numbers of an atom and the one that it replaces (Pettifor's scale)."""
        symbols = self.prototype.atoms.get_chemical_symbols()
        return sum(abs(mendeleev_number(s) - mendeleev_number(self.elements[s])) for s in symbols) / len(symbols)


def _spheres(atoms: Atoms) -> float:
    return float((covalent_radii[atoms.numbers] ** 3).sum())


@cache
def mendeleev_number(symbol: str) -> float:
    """Return the place of an element in Pettifor's chemical scale, 1 to 103.

    D. G. Pettifor, Solid State Commun. 1984, 51, 31, DOI 10.1016/0038-1098(84)90765-8. Elements that it lacks have that
    of the nearest atomic number before them.
    """
    from pymatgen.core import Element

    number = Element(symbol).mendeleev_no
    if number is None or np.isnan(float(number)):
        return mendeleev_number(Element.from_Z(atomic_numbers[symbol] - 1).symbol)
    return float(number)


def decorations(prototype: Prototype, unit: FormulaUnit) -> list[Decoration]:
    """Return all ways in which a composition can adopt a prototype, no two of them the same crystal.

    Args:
        prototype: a prototype of the composition's anonymous formula.
        unit: the composition.
    """
    return distinct([Decoration(prototype, elements) for elements in _assignments(prototype, unit.as_dict())])


def distinct(found: Iterable[Decoration]) -> list[Decoration]:
    """Return the decorations of one composition that are no earlier one in another volume.

    Equal letters are not yet equal places, so geometries are compared as well. They are compared in one volume.

    Args:
        found: decorations; of equal ones the first is kept.
    """
    kept: dict[str, list[Atoms]] = defaultdict(list)
    new = []
    for decoration in found:
        atoms = decoration.atoms()
        atoms.set_cell(atoms.cell.array * np.cbrt(COMPARED_VOLUME * len(atoms) / atoms.get_volume()), scale_atoms=True)
        same_label = kept[decorated_label(decoration.prototype.label, decoration.elements)]
        if not any(are_equal(atoms, made, stol=EQUAL_TYPES) for made in same_label):
            same_label.append(atoms)
            new.append(decoration)
    return new


def _assignments(prototype: Prototype, counts: Mapping[str, int]) -> Iterator[dict[str, str]]:
    """Yield every map of the elements of a prototype to those of a composition that keeps the counts."""
    own: dict[int, list[str]] = defaultdict(list)
    new: dict[int, list[str]] = defaultdict(list)
    atoms_of = prototype.atoms.symbols.formula.count()
    divisor = len(prototype.atoms) // sum(prototype.counts)
    for symbol, count in sorted(atoms_of.items()):
        own[count // divisor].append(symbol)
    for symbol, count in sorted(counts.items()):
        new[count].append(symbol)
    if {count: len(s) for count, s in own.items()} != {count: len(s) for count, s in new.items()}:
        return
    for orders in product(*(permutations(new[count]) for count in own)):
        yield dict(zip((s for symbols in own.values() for s in symbols), (s for o in orders for s in o), strict=True))


def decorated_label(label: str, elements: Mapping[str, str]) -> str:
    """Return the protostructure label of a decoration.

    Args:
        label: label of the prototype.
        elements: element of the composition by that of the prototype.
    """
    from pymatgen.analysis.prototypes import canonicalize_element_wyckoffs

    body, _, chemical_system = label.partition(":")
    formula, pearson, number, *letters = body.split("_")
    order = sorted(range(len(letters)), key=lambda i: elements[chemical_system.split("-")[i]])
    counts = _amounts(formula)
    new = "".join(f"{chr(ord('A') + k)}{counts[i] if counts[i] > 1 else ''}" for k, i in enumerate(order))
    wyckoffs = canonicalize_element_wyckoffs("_".join(_with_ones(letters[i]) for i in order), int(number))
    return f"{new}_{pearson}_{number}_{wyckoffs}:{'-'.join(sorted(elements.values()))}"


def _amounts(formula: str) -> list[int]:
    """Return the amounts of an anonymous formula such as ``A2BC4``."""
    amounts: list[str] = []
    for character in formula:
        if character.isalpha():
            amounts.append("")
        else:
            amounts[-1] += character
    return [int(amount or 1) for amount in amounts]


def _with_ones(letters: str) -> str:
    """Return Wyckoff letters with all their numbers: ``1h4i`` for ``h4i``."""
    text = ""
    for before, character in zip(" " + letters, letters, strict=False):
        text += f"1{character}" if character.isalpha() and not before.isdigit() else character
    return text


def candidates(prototypes: Sequence[Prototype], unit: FormulaUnit, max_atoms: int) -> list[Decoration]:
    """Return what a composition can become in the prototypes of a library, chemically most similar first.

    Of prototypes that are one type the chemically most similar stands for all.

    Args:
        prototypes: a library.
        unit: the composition.
        max_atoms: largest number of atoms of a primitive cell.
    """
    wanted = tuple(sorted(unit.as_dict().values()))
    found = [
        decoration
        for prototype in prototypes
        if len(prototype.atoms) <= max_atoms and prototype.counts == wanted
        for decoration in decorations(prototype, unit)
    ]
    return distinct(sorted(found, key=lambda decoration: decoration.distance))
