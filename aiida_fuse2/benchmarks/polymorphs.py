"""Polymorphs whose order is known from experiment: the data of ``polymorphs.yaml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import spglib
import yaml
from ase import Atoms
from ase.spacegroup import crystal

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.errors import InputError

SYMPREC = 1e-3
"""Tolerance when the primitive cell is found, Å; positions are rounded."""


@dataclass(frozen=True)
class Polymorph:
    """A structure from the literature.

    Attributes:
        name: its name.
        group: number of its space group.
        cell: lengths and angles of the conventional cell, Å and degrees.
        sites: fractional coordinates of one atom of each orbit, by element.
        source: where cell and positions are from.
    """

    name: str
    group: int
    cell: tuple[float, ...]
    sites: Mapping[str, Sequence[Sequence[float]]]
    source: str

    def atoms(self) -> Atoms:
        """Return its primitive cell."""
        symbols = [element for element, places in self.sites.items() for _ in places]
        places = [place for of_element in self.sites.values() for place in of_element]
        whole = crystal(symbols, places, spacegroup=self.group, cellpar=self.cell, symprec=SYMPREC)
        found = spglib.standardize_cell(
            (whole.cell.array, whole.get_scaled_positions(), whole.numbers), to_primitive=True, symprec=SYMPREC
        )
        cell, positions, numbers = found
        return Atoms(numbers, scaled_positions=positions, cell=cell, pbc=True)


@dataclass(frozen=True)
class Compound:
    """The polymorphs of a composition.

    Attributes:
        formula: formula unit.
        known: name of the stable one at ambient conditions.
        doubt: why energies at 0 K may have another order, or empty.
        polymorphs: by name.
    """

    formula: str
    known: str
    doubt: str
    polymorphs: Mapping[str, Polymorph]


@cache
def read_compounds() -> dict[str, Compound]:
    """Return the packaged compounds by formula."""
    content = yaml.safe_load((files(__package__) / "polymorphs.yaml").read_text(encoding="utf-8"))
    found = {}
    for formula, entry in content.items():
        polymorphs = {
            name: Polymorph(name, value["group"], tuple(value["cell"]), value["sites"], value["source"])
            for name, value in entry["polymorphs"].items()
        }
        found[formula] = Compound(formula, entry["known"], entry.get("doubt", ""), polymorphs)
    return found


def choose_compounds(formulas: Sequence[str]) -> list[Compound]:
    """Return the compounds of these formulas, in any order of elements; all if there are none.

    Raises:
        InputError: for a formula that is not among them.
    """
    every = read_compounds()
    units = {frozenset(parse_composition(formula).counts): formula for formula in every}
    chosen = []
    for formula in formulas:
        key = frozenset(parse_composition(formula).counts)
        if key not in units:
            raise InputError("COMPOUNDS", formula, f"must be among {', '.join(every)}")
        chosen.append(units[key])
    return [every[formula] for formula in dict.fromkeys(chosen)] or list(every.values())
