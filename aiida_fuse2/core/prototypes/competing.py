"""Which compositions compete with the compounds of a chemical system: elements, salts, and known compounds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import gcd

from aiida_fuse2.core.chemistry.composition import FormulaUnit, formula_unit
from aiida_fuse2.core.chemistry.ions import electronegativity

ELEMENT = "element"

Key = tuple[tuple[str, int], ...]
"""Elements of a formula unit with their numbers of atoms, by symbol."""


@dataclass(frozen=True, kw_only=True)
class KnownCompound:
    """A compound of a library of prototypes.

    Attributes:
        unit: its formula unit.
        n_atoms: number of atoms in the smallest of its primitive cells.
    """

    unit: FormulaUnit
    n_atoms: int


@dataclass(frozen=True, kw_only=True)
class Competing:
    """A composition that competes.

    Attributes:
        unit: its formula unit.
        reason: why it is one: ``element``, oxidation states, or a library.
        n_atoms: number of atoms of the smallest known structure; 0 if none is known, or it is too large.
    """

    unit: FormulaUnit
    reason: str
    n_atoms: int = 0


def key_of(unit: FormulaUnit) -> Key:
    """Return what all formulas of one composition have in common."""
    return tuple(sorted(unit.counts))


def salts(elements: Collection[str]) -> list[tuple[FormulaUnit, str]]:
    """Return the neutral compounds of two elements in common oxidation states, with these states.

    The anion is the more electronegative element. States are those of pymatgen (N. N. Greenwood, A. Earnshaw,
    Chemistry of the Elements, 2nd ed., 1997).
    """
    from pymatgen.core import Element

    found: dict[Key, tuple[FormulaUnit, str]] = {}
    for cation, anion in permutations(sorted(elements), 2):
        if electronegativity(cation) >= electronegativity(anion):
            continue
        positive = sorted(state for state in Element(cation).common_oxidation_states if state > 0)
        negative = sorted((state for state in Element(anion).common_oxidation_states if state < 0), reverse=True)
        for plus in positive:
            for minus in negative[:1]:
                divisor = gcd(plus, -minus)
                unit = formula_unit({cation: -minus // divisor, anion: plus // divisor})
                found.setdefault(key_of(unit), (unit, f"{cation} +{plus}, {anion} {minus}"))
    return list(found.values())


def competing(
    elements: Sequence[str],
    compounds: Mapping[str, Iterable[KnownCompound]],
    *,
    without: Collection[Key],
    limit: int,
    max_atoms: int,
) -> tuple[list[Competing], list[str]]:
    """Return the compositions that compete in a chemical system, and formulas of those that are left out.

    The elements come first, then neutral compounds of two elements, then known compounds: those of fewest elements, and
    of these those of smallest formula unit.

    Args:
        elements: of the system.
        compounds: known compounds by the name of their library.
        without: compositions that are searched anyway.
        limit: largest number of compositions besides the elements.
        max_atoms: largest primitive cell; a compound whose known structures are all larger is left out.
    """
    smallest: dict[Key, int] = {}
    reasons: dict[Key, tuple[FormulaUnit, str]] = {key_of(unit): (unit, states) for unit, states in salts(elements)}
    known: dict[Key, tuple[FormulaUnit, str]] = {}
    for name, members in compounds.items():
        for one in members:
            key = key_of(one.unit)
            if set(one.unit.elements) <= set(elements):
                smallest[key] = min(smallest.get(key, one.n_atoms), one.n_atoms)
                known.setdefault(key, (one.unit, f"compound of {name}"))
    order = sorted(known, key=lambda key: (len(key), sum(count for _, count in key), key))
    ordered = reasons | {key: known[key] for key in order if key not in reasons and len(key) > 1}
    wanted: list[Competing] = []
    left_out: list[str] = []
    for key, (unit, reason) in ordered.items():
        if key in without:
            continue
        n_atoms = smallest.get(key, 0)
        is_small = n_atoms <= max_atoms
        if (is_small or key in reasons) and len(wanted) < limit:
            wanted.append(Competing(unit=unit, reason=reason, n_atoms=n_atoms if is_small else 0))
        else:
            left_out.append(unit.formula)
    pure = [formula_unit({element: 1}) for element in elements]
    first = [
        Competing(unit=unit, reason=ELEMENT, n_atoms=smallest.get(key_of(unit), 0))
        for unit in pure
        if key_of(unit) not in without
    ]
    return [*first, *wanted], left_out
