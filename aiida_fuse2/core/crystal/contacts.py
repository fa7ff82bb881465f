"""Atoms that are too near to each other: how much, and how to push them apart."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

STEPS = 60
"""Number of times that all short pairs are pushed apart."""

STEPS_IN_CELL = 20
"""Number of those after which the cell grows as well."""

GROWTH = 1.02
"""Factor of the lattice vectors for each growth."""

MAX_GROWTH = 1.3
"""Largest factor of the lattice vectors in all."""

OVERSHOOT = 0.01
"""Distance by which short pairs are pushed further than needed, Å, so that many touching pairs come to an end."""

COINCIDENT = 0.05
"""Atoms nearer than this have no direction in which to push them, Å; they are displaced at random first."""


def shortfall(atoms: Atoms, least: NDArray[np.float64]) -> float:
    """Return the largest amount by which a pair of atoms is nearer than it should be, Å; 0 if none is.

    Args:
        atoms: a crystal.
        least: shortest distance of each pair of atoms, Å, shape (n, n).
    """
    first, second, distances = neighbour_list("ijd", atoms, float(least.max()))
    return max(0.0, float((least[first, second] - distances).max(initial=0.0)))


def pushed_apart(atoms: Atoms, least: NDArray[np.float64], rng: np.random.Generator) -> Atoms | None:
    """Return the crystal with all atoms at least as far apart as they should be, or None if that fails.

    Every short pair is moved apart along the line between the atoms, again and again; the cell grows where atoms
    touch their own images, or where there is no room otherwise.

    Args:
        atoms: a crystal; not changed.
        least: shortest distance of each pair of atoms, Å, shape (n, n).
        rng: random generator, for atoms that coincide.
    """
    pushed, growth = atoms.copy(), 1.0
    for step in range(STEPS):
        first, second, vectors, distances = neighbour_list("ijDd", pushed, float(least.max()))
        short = distances < least[first, second]
        if not short.any():
            return pushed
        first, second, vectors, distances = first[short], second[short], vectors[short], distances[short]
        if distances.min() < COINCIDENT:
            pushed.positions += COINCIDENT * rng.standard_normal(pushed.positions.shape)
            continue
        overlap = least[first, second] + OVERSHOOT - distances
        np.add.at(pushed.positions, first, -0.5 * (overlap / distances)[:, None] * vectors)
        if step >= STEPS_IN_CELL or (first == second).any():
            growth *= GROWTH
            if growth > MAX_GROWTH:
                return None
            pushed.set_cell(GROWTH * pushed.cell.array, scale_atoms=True)
    return None
