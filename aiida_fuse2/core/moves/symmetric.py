"""Moves that see the symmetry of a structure: whole orbits move or exchange, and the symmetry is lowered on purpose.

Not among the paper's. A real crystal has symmetry, which moves of single atoms destroy: structures that keep a part of
it are few, and low in energy more often (Pickard and Needs 2011, J. Phys. Condens. Matter 23, 053201, build random
structures with symmetry for this reason).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.operations import Operations, operations_of
from aiida_fuse2.core.crystal.slicing import SlicedStructure, assemble
from aiida_fuse2.core.crystal.symmetry import SymmetryError
from aiida_fuse2.core.errors import MoveError

from .base import MoveContext, make_crystal

DRAWS = 10
"""Number of subgroups, displacements or decorations that are tried."""

LEAST_SHIFT = 0.7
"""Smallest distance by which an orbit moves, Å; it comes back from less."""

AMPLITUDES = (0.4, 1.0)
"""Range of the largest displacement of an atom by a pattern, Å: above the tolerance for symmetry, below a bond."""

NEGLIGIBLE = 1e-6
"""A displacement below this is none, Å."""


def move_orbits(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
    """Two orbits of equal multiplicity swap their species, or one moves along its free coordinates.

    The orbits are those of the space group, or with equal chance of a random subgroup: most sites of simple crystals
    have no free coordinate, and their orbits no equals.
    """
    atoms = assemble(sliced)
    operations = _operations(atoms, context)
    if rng.random() < 0.5:
        operations = operations.subgroup(rng)
    orbits = operations.orbits
    pairs = [
        (a, b) for a, b in combinations(orbits, 2) if len(a) == len(b) and atoms.numbers[a[0]] != atoms.numbers[b[0]]
    ]
    free = [orbit for orbit in orbits if np.abs(operations.free_part(int(orbit[0]))).max() > NEGLIGIBLE]
    if len(orbits) == 1:
        free = []  # only the origin would move
    if not pairs and not free:
        raise MoveError("no_free_orbit")
    if pairs and (not free or rng.random() < 0.5):
        first, second = pairs[rng.integers(len(pairs))]
        numbers = sliced.numbers.copy()
        numbers[first], numbers[second] = sliced.numbers[second[0]], sliced.numbers[first[0]]
        return make_crystal(numbers, sliced.fractional, sliced.cell)
    return _shifted_orbit(sliced, operations, int(free[rng.integers(len(free))][0]), rng)


def _shifted_orbit(sliced: SlicedStructure, operations: Operations, atom: int, rng: np.random.Generator) -> Atoms:
    """Return the crystal with the orbit of an atom elsewhere, each of its atoms as the symmetry demands."""
    free = operations.free_part(atom)
    for _ in range(DRAWS):
        shift = free @ rng.uniform(-0.5, 0.5, size=3)
        if np.linalg.norm(shift @ sliced.cell) >= LEAST_SHIFT:
            break
    else:
        raise MoveError("no_free_orbit")
    fractional = sliced.fractional
    places = fractional.copy()
    for rotation, image in zip(operations.rotations, operations.images, strict=True):
        places[image[atom]] = fractional[image[atom]] + rotation @ shift
    return make_crystal(sliced.numbers, places, sliced.cell)


def lower_symmetry(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
    """Atoms are displaced by a pattern that has the symmetry of a random subgroup, in the cell or in a doubled one.

    The pattern is a random displacement, projected on those that keep the subgroup, less its part that keeps the whole
    group: a sum of symmetry-adapted modes, as at a phase transition that condenses one.
    """
    atoms = assemble(sliced)
    if 2 * len(atoms) <= context.max_atoms and rng.random() < 0.5:
        repeats = [1, 1, 1]
        repeats[rng.integers(3)] = 2
        atoms = atoms.repeat(repeats)
    operations = _operations(atoms, context)
    for _ in range(DRAWS):
        random = rng.standard_normal((len(atoms), 3)) @ np.linalg.inv(atoms.cell.array)
        pattern = operations.subgroup(rng).invariant(random)
        pattern -= operations.invariant(pattern)
        pattern -= pattern.mean(axis=0)  # of a common translation
        displaced = displaced_by(atoms, pattern, rng)
        if displaced is not None:
            return displaced
    raise MoveError("no_lower_symmetry")


def displace_copies(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator, *, copies: int) -> Atoms:
    """The copies that a repeated structure consists of are displaced unlike each other, as by a mode of a larger cell.

    The pattern is as in ``lower_symmetry``, less what is common to all copies.

    Args:
        sliced: the structure, its atoms copy by copy.
        context: as for any move.
        rng: random generator.
        copies: number of copies.
    """
    atoms = assemble(sliced)
    operations = _operations(atoms, context)
    for _ in range(DRAWS):
        random = rng.standard_normal((len(atoms), 3)) @ np.linalg.inv(atoms.cell.array)
        pattern = operations.subgroup(rng).invariant(random).reshape(copies, -1, 3)
        displaced = displaced_by(atoms, (pattern - pattern.mean(axis=0)).reshape(-1, 3), rng)
        if displaced is not None:
            return displaced
    raise MoveError("no_lower_symmetry")


def displaced_by(atoms: Atoms, pattern: NDArray[np.float64], rng: np.random.Generator) -> Atoms | None:
    """Return a crystal displaced by a pattern, fractional, shape (n, 3), of a random amplitude; None if it is zero."""
    largest = float(np.linalg.norm(pattern @ atoms.cell.array, axis=1).max())
    if largest < NEGLIGIBLE:
        return None
    amplitude = rng.uniform(*AMPLITUDES) / largest
    return make_crystal(atoms.numbers, atoms.get_scaled_positions() + amplitude * pattern, atoms.cell.array)


def decorate(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
    """The species are distributed anew over the orbits of the space group, or of a random subgroup of it.

    All sites stay; the number of atoms of each species is kept. With a subgroup, as from a normal spinel to an ordered
    inverse one, the orbits are smaller and there are more ways.
    """
    operations = _operations(assemble(sliced), context)
    for draw in range(DRAWS):
        group = operations if draw % 2 else operations.subgroup(rng)
        numbers = _distributed(sliced.numbers, group.orbits, rng)
        if numbers is not None and np.any(numbers != sliced.numbers):
            return make_crystal(numbers, sliced.fractional, sliced.cell)
    raise MoveError("no_decoration")


def _distributed(
    numbers: NDArray[np.int64], orbits: list[NDArray[np.int64]], rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """Return species on the orbits, shape (n,), each as often as before, or None if this draw comes to no end.

    The largest orbits come first, each with a species that has atoms enough left.
    """
    species, counts = np.unique(numbers, return_counts=True)
    left = dict(zip(species.tolist(), counts.tolist(), strict=True))
    found = np.empty_like(numbers)
    order = sorted(orbits, key=lambda orbit: (-len(orbit), rng.random()))
    for orbit in order:
        possible = [number for number, count in left.items() if count >= len(orbit)]
        if not possible:
            return None
        shares = np.array([left[number] for number in possible], dtype=float)
        number = possible[int(rng.choice(len(possible), p=shares / shares.sum()))]
        found[orbit] = number
        left[number] -= len(orbit)
    return found


def _operations(atoms: Atoms, context: MoveContext) -> Operations:
    try:
        return operations_of(atoms, context.symprec)
    except SymmetryError as error:
        raise MoveError(error.reason, error.detail) from error
