"""The parts of a picture of a crystal: atoms of the cell and of its faces, bonds, edges."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from numpy.typing import NDArray
from scipy.spatial import cKDTree

BOND_FACTOR = 1.05
"""Longest bond, as a multiple of the sum of the covalent radii."""

ON_FACE = 0.02
"""Fractional distance from a face of the cell within which an atom is drawn on the opposite face too."""

RADIUS_FACTOR = 0.42
"""Radius of a drawn atom, as a multiple of its covalent radius."""

SOFTENING = 0.38
"""Part of grey in the colour of an element: the pure colours are too bright side by side."""

SOFT_GREY = 0.75
"""Level of this grey, from 0 (black) to 1."""

ANIONS = frozenset({"N", "P", "As", "O", "S", "Se", "Te", "F", "Cl", "Br", "I", "H", "C", "B"})
"""Elements whose bonds are drawn; bonds between atoms of metals would only fill the picture."""


def view(atoms: Atoms) -> dict[str, Any]:
    """Return a structure in plain values for the page.

    Returns:
        ``cell``: the three vectors, Å; ``elements``: symbol, colour (#rrggbb) and radius (Å) of each;
        ``atoms``: index of the element and position (Å) of each atom; atoms on faces of the cell are on each
        of them; ``bonds``: pairs of indices into ``atoms``.
    """
    symbols = sorted(set(atoms.symbols), key=lambda symbol: -covalent_radii[chemical_symbols.index(symbol)])
    owners, places = _atoms_of_cell(atoms)
    return {
        "cell": _rounded(atoms.cell.array),
        "elements": [_element(symbol) for symbol in symbols],
        "atoms": [
            [symbols.index(atoms.symbols[owner]), *place] for owner, place in zip(owners, _rounded(places), strict=True)
        ],
        "bonds": _bonds(atoms.numbers[owners], places),
    }


def _element(symbol: str) -> dict[str, Any]:
    number = chemical_symbols.index(symbol)
    softened = (1 - SOFTENING) * jmol_colors[number] + SOFTENING * SOFT_GREY
    red, green, blue = (round(255 * float(value)) for value in softened)
    radius = round(RADIUS_FACTOR * float(covalent_radii[number]), 3)
    return {"symbol": symbol, "colour": f"#{red:02x}{green:02x}{blue:02x}", "radius": radius}


def _atoms_of_cell(atoms: Atoms) -> tuple[list[int], NDArray[np.float64]]:
    """Return the indices of the atoms that are drawn, and their positions (Å), shape (n, 3)."""
    owners, fractions = [], []
    for index, scaled in enumerate(atoms.get_scaled_positions(wrap=True)):
        inside = np.where(scaled > 1 - ON_FACE, scaled - 1, scaled)
        shifts = [(0, 1) if x < ON_FACE else (0,) for x in inside]
        for shift in product(*shifts):
            owners.append(index)
            fractions.append(inside + shift)
    return owners, np.array(fractions) @ atoms.cell.array


def _bonds(numbers: NDArray[np.int64], places: NDArray[np.float64]) -> list[list[int]]:
    """Return the pairs of drawn atoms that are bonded.

    Args:
        numbers: atomic number of each drawn atom, shape (n,).
        places: positions of each, Å, shape (n, 3).
    """
    radii = covalent_radii[numbers]
    pairs = cKDTree(places).query_pairs(2 * BOND_FACTOR * float(radii.max()), output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    lengths = np.linalg.norm(places[first] - places[second], axis=1)
    is_anion = np.isin(numbers, [chemical_symbols.index(symbol) for symbol in ANIONS])
    bonded = lengths < BOND_FACTOR * (radii[first] + radii[second])
    if is_anion.any() and not is_anion.all():
        bonded &= is_anion[first] != is_anion[second]
    return sorted([min(pair), max(pair)] for pair in pairs[bonded].tolist())


def _rounded(values: NDArray[np.float64]) -> list[list[float]]:
    return [[round(float(value), 3) for value in row] for row in values]
