"""Move ``splice``: a slab of the structure and a slab of another walker's are stacked into one crystal."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.slicing import SlicedStructure, assemble
from aiida_fuse2.core.errors import MoveError

from .base import MoveContext, make_crystal

DRAWS = 10
"""Number of pairs of stackings in which cuts are looked for."""

LEAST_GAP = 0.05
"""A plane cuts between two atoms only if their heights differ by more, Å: a layer of atoms stays whole."""

EDGE = 1e-6
"""A plane nearer to the end of a cell, as a fraction of it, is the end."""

MAX_REPEATS = 3
"""Largest number of times that the other structure is repeated along a vector in the plane."""


@dataclass(frozen=True, eq=False)
class Stack:
    """A structure seen along its third axis, whose atoms are in the order of their heights.

    Attributes:
        numbers: atomic numbers, shape (n,).
        places: fractional coordinates, shape (n, 3).
        cell: lattice vectors as rows, Å.
        cuts: numbers of atoms below each plane where it can be cut.
        heights: height of each of these planes, as a fraction of the cell.
    """

    numbers: NDArray[np.int64]
    places: NDArray[np.float64]
    cell: NDArray[np.float64]
    cuts: NDArray[np.int64]
    heights: NDArray[np.float64]

    @property
    def volume(self) -> float:
        """Volume, Å³."""
        return float(abs(np.linalg.det(self.cell)))


def splice(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
    """Two slabs, one of the structure and one of another walker's, are stacked along a lattice vector.

    Not among the paper's; the crossover of Deaven and Ho (1995, Phys. Rev. Lett. 75, 288) between modules. Planes are
    chosen so that the atoms of both slabs make whole formula units. The other slab is strained to the face of the first
    and keeps its volume.

    Raises:
        MoveError: ``no_other`` if no other walker has a structure, ``no_common_cut`` if no pair of planes was found.
    """
    if not context.others:
        raise MoveError("no_other")
    for _ in range(DRAWS):
        other = context.others[int(rng.integers(len(context.others)))]
        first = _stack(_turned(assemble(sliced), int(rng.integers(3))), rng)
        second = _stack(_fitted(_turned(other, int(rng.integers(3))), first.cell), rng)
        cuts = _common_cuts(first, second, context)
        if len(cuts):
            below, above = cuts[rng.integers(len(cuts))]
            return _joined(first, int(below), second, int(above), rng)
    raise MoveError("no_common_cut")


def _turned(atoms: Atoms, axis: int) -> Atoms:
    """Return the crystal with a lattice vector as the third."""
    order = [(axis + 1) % 3, (axis + 2) % 3, axis]
    places = atoms.cell.scaled_positions(atoms.positions)
    return Atoms(numbers=atoms.numbers, scaled_positions=places[:, order], cell=atoms.cell.array[order], pbc=True)


def _fitted(atoms: Atoms, face: NDArray[np.float64]) -> Atoms:
    """Return the crystal with those vectors in the plane, and as many repeats of it, that are nearest to a face.

    Args:
        atoms: a crystal.
        face: lattice vectors of which the first two span the face, Å, shape (3, 3).
    """
    best, chosen = np.inf, atoms
    places = atoms.cell.scaled_positions(atoms.positions)
    target = face[:2] @ face[:2].T
    for order, sign in product(permutations(range(2)), (1, -1)):
        rows = [*order, 2]
        vectors = atoms.cell.array[rows] * np.array([1, sign, 1])[:, None]
        lengths = np.linalg.norm(face[:2], axis=1) / np.linalg.norm(vectors[:2], axis=1)
        repeats = np.clip(np.rint(lengths), 1, MAX_REPEATS).astype(int)
        spanned = vectors[:2] * repeats[:, None]
        misfit = float(np.abs(spanned @ spanned.T - target).max() / np.abs(target).max())
        if misfit < best - 1e-9:
            turned = Atoms(atoms.numbers, scaled_positions=places[:, rows] * [1, sign, 1], cell=vectors, pbc=True)
            best, chosen = misfit, turned.repeat([*repeats, 1])
    return chosen


def _stack(atoms: Atoms, rng: np.random.Generator) -> Stack:
    """Return a structure in the order of its heights above a random plane where it can be cut."""
    places = atoms.get_scaled_positions()
    thickness = abs(np.linalg.det(atoms.cell.array)) / np.linalg.norm(np.cross(*atoms.cell.array[:2]))
    planes = _planes(places[:, 2], thickness)
    if not len(planes):
        raise MoveError("no_common_cut", "the atoms lie in one plane")
    places[:, 2] = (places[:, 2] - planes[rng.integers(len(planes))]) % 1.0
    order = np.argsort(places[:, 2], kind="stable")
    heights = _planes(places[:, 2], thickness)
    heights = np.sort(heights[(heights > EDGE) & (heights < 1 - EDGE)])
    cuts = np.searchsorted(places[order, 2], heights)
    return Stack(atoms.numbers[order], places[order], atoms.cell.array, cuts, heights)


def _planes(heights: NDArray[np.float64], thickness: float) -> NDArray[np.float64]:
    """Return the heights, in [0, 1), halfway between atoms that are apart."""
    ordered = np.sort(heights)
    gaps = np.diff(ordered, append=ordered[0] + 1.0)
    wide = gaps * thickness > LEAST_GAP
    return np.asarray((ordered + gaps / 2)[wide] % 1.0, dtype=np.float64)


def _common_cuts(first: Stack, second: Stack, context: MoveContext) -> NDArray[np.int64]:
    """Return the pairs of cuts, as indices, shape (m, 2), whose slabs together make whole formula units."""
    numbers = np.unique(np.concatenate([first.numbers, second.numbers]))
    unit = np.array([np.count_nonzero(first.numbers == number) for number in numbers])
    unit = unit * context.unit.n_atoms // len(first.numbers)
    below, above = (np.cumsum(stack.numbers[:, None] == numbers, axis=0)[stack.cuts - 1] for stack in (first, second))
    total = below[:, None] + above
    size = total.sum(axis=-1)
    whole = (total * context.unit.n_atoms == size[..., None] * unit).all(axis=-1)
    return np.argwhere(whole & (size % context.unit.n_atoms == 0) & (size <= context.max_atoms))


def _joined(first: Stack, below: int, second: Stack, above: int, rng: np.random.Generator) -> Atoms:
    """Return the crystal of the slabs under a plane of each structure, the second at a random place in the plane."""
    lower, upper = first.heights[below] * first.volume, second.heights[above] * second.volume
    total = lower + upper
    cell = first.cell.copy()
    cell[2] *= total / first.volume
    own = first.places[: first.cuts[below]].copy()
    own[:, 2] *= first.volume / total
    other = second.places[: second.cuts[above]].copy()
    other[:, 2] = (lower + other[:, 2] * second.volume) / total
    other[:, :2] += rng.random(2)
    numbers = np.concatenate([first.numbers[: len(own)], second.numbers[: len(other)]])
    return make_crystal(numbers, np.vstack([own, other]), cell)
