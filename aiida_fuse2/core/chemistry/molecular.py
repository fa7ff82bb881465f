"""Volumes of atoms in crystals of molecules and of noble gases, where touching spheres do not describe them.

Atomic radii are halves of bond lengths. In solid H2 or CO2 most neighbours are not bonded, and a noble gas has no
bonds: such a crystal is 3 to 50 times larger than touching spheres. In the solids of the elements an atom has the
volume that J. Donohue, The Structures of the Elements, Wiley 1974, gives; in compounds its average over the molecular
crystals of the Cambridge Structural Database (D. W. M. Hofmann, Acta Cryst. B 2002, 58, 489,
DOI 10.1107/S0108768101021814).
Both hold at ambient pressure, helium's at the 25 bar that it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .composition import FormulaUnit

_NOBLE = {"He": 34.0, "Ne": 22.2, "Ar": 37.1, "Kr": 45.0, "Xe": 57.6}

ELEMENT_VOLUMES: Mapping[str, float] = MappingProxyType(
    {"H": 19.2, "N": 22.5, "O": 17.4, "F": 16.1, "Cl": 28.9, "Br": 32.6, "I": 42.6, **_NOBLE}
)
"""Volume per atom of the solids of elements that consist of molecules of two atoms, or of single atoms, Å³."""

COMPOUND_VOLUMES: Mapping[str, float] = MappingProxyType(
    {
        "H": 5.08,
        "C": 13.87,
        "N": 11.8,
        "O": 11.39,
        "F": 11.17,
        "P": 29.5,
        "S": 25.2,
        "Cl": 25.8,
        "Br": 32.7,
        "I": 46.2,
        **_NOBLE,
    }
)
"""Volume of an atom in a compound of these elements alone, Å³."""

ENDS_OF_MOLECULES = frozenset({"H", "O", "F", "Cl", "Br", "I", *_NOBLE})
"""Elements of which a compound of ``COMPOUND_VOLUMES`` consists of molecules; C3N4 or P3N5, without, are networks."""

OCCUPANCY = 6**0.5
"""Atoms of a sub-module whose volume is that of the crystal: the geometric mean of the least and most of ``fgen``."""

SPREAD = 1.6
"""Largest over middle, and middle over least volume that a random lattice has; about that of ``fgen``'s grids."""

LEAST_VOLUME = 4.0
"""Smallest volume per atom for which sizes are computed, Å³. At ambient pressure diamond has the smallest, 5.7; with
touching spheres only compositions rich in hydrogen go below this, down to 2."""


def molecular_volume(unit: FormulaUnit) -> float | None:
    """Return the mean volume of an atom, Å³, or None if crystals do not consist of molecules or single atoms.

    Args:
        unit: the composition.
    """
    elements = set(unit.elements)
    if unit.is_element:
        return ELEMENT_VOLUMES.get(unit.elements[0])
    if not elements <= set(COMPOUND_VOLUMES) or not elements & ENDS_OF_MOLECULES:
        return None
    return sum(COMPOUND_VOLUMES[symbol] * number for symbol, number in unit.counts) / unit.n_atoms


def box_edge(volume: float) -> float:
    """Return the edge ``ap`` of a sub-module ``[ap, ap, ap/2]`` that holds ``OCCUPANCY`` atoms, Å.

    Args:
        volume: mean volume of an atom, Å³.
    """
    return float((2.0 * OCCUPANCY * volume) ** (1 / 3))
