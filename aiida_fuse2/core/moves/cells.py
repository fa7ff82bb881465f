"""Moves 9 and 10: a new cell shape for all sub-modules, an original motif for one of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.families import (
    MAX_ASPECT,
    MID_HEIGHT,
    MOTIF_SITES,
    BravaisFamily,
    aspect,
    box_cell,
    draw_angles,
    families_for,
    grids,
)
from aiida_fuse2.core.crystal.slicing import SlicedStructure, assemble, slice_structure
from aiida_fuse2.core.crystal.uniqueness import FINGERPRINT_STOL, are_equal
from aiida_fuse2.core.errors import MoveError

from .base import MoveContext, make_crystal
from .supercells import Extension, doubled, has_room

SAME_SITE = 1e-3
"""An atom this close to a motif site, as a fraction of the box, is on it already."""

DRAWS = 10
"""Number of shapes that are drawn until one is another lattice."""

_SITES = np.array([(x, y, MID_HEIGHT) for x, y in MOTIF_SITES])

Occupancy = tuple[int, ...]
"""Atomic number on each of the four motif sites, 0 if it is empty."""


def new_cell_shape(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
    """Move 9: nominal boxes with the angles of a random Bravais family, on a new grid of as many boxes.

    Every box keeps its contents, as fractions of the box, and its number (x fastest, then y, then z). Beyond the paper:
    the contents of each box are turned onto other axes of it, and a structure of one box is doubled first where there
    is room, since most crystals relax back from a new shape alone.
    """
    if context.plain:
        return _reshaped(sliced, context, np.tile(np.arange(3), (sliced.n_boxes, 1)), rng)
    boxes = sliced
    if sliced.n_boxes == 1 and has_room(sliced, context, 2):
        axis = int(rng.integers(3))
        grid = tuple(1 + (k == axis) for k in range(3))
        boxes = slice_structure(
            doubled(sliced, axis=axis, kind=Extension.REPEAT), context.ap, (grid[0], grid[1], grid[2])
        )
    for _ in range(DRAWS):
        turns = np.array([rng.permutation(3) for _ in range(boxes.n_boxes)])
        trial = _reshaped(boxes, context, turns, rng)
        if not _is_scaled(trial, assemble(sliced)):
            return trial
    raise MoveError("equal_to_parent")


def _reshaped(
    sliced: SlicedStructure, context: MoveContext, turns: NDArray[np.intp], rng: np.random.Generator
) -> Atoms:
    """Return a crystal of new boxes.

    Args:
        sliced: the structure.
        context: with the module size.
        turns: for each box, the axis of the old one that lies along each of its axes, shape (n_boxes, 3).
        rng: random generator.
    """
    families = families_for(sliced.n_boxes)
    family = families[rng.integers(len(families))]
    compact = compact_grids(sliced.n_boxes, family)
    grid = compact[rng.integers(len(compact))]
    offsets = np.take_along_axis(sliced.offsets, turns[sliced.box_numbers], axis=1)
    places = (_box_indices(sliced.box_numbers, grid) + offsets) / np.asarray(grid)
    return make_crystal(sliced.numbers, places, box_cell(grid, context.ap, draw_angles(family, rng)))


def _is_scaled(trial: Atoms, parent: Atoms) -> bool:
    """Return whether a trial is its parent at another volume."""
    scaled = trial.copy()
    scaled.set_cell(trial.cell.array * np.cbrt(parent.get_volume() / trial.get_volume()), scale_atoms=True)
    return are_equal(scaled, parent, stol=FINGERPRINT_STOL)


def compact_grids(n_boxes: int, family: BravaisFamily) -> list[tuple[int, int, int]]:
    """Return the grids of ``n_boxes`` boxes with an aspect up to ``MAX_ASPECT``, otherwise the nearest to it.

    A prime number of boxes above 12 has none within the limit: a rod along c is its best.
    """
    allowed = grids(n_boxes, family)
    limit = max(MAX_ASPECT, min(aspect(grid) for grid in allowed))
    return [grid for grid in allowed if aspect(grid) <= limit]


def mutable_submodules(sliced: SlicedStructure) -> list[int]:
    """Return the numbers of the sub-modules that an original motif would change."""
    full = np.flatnonzero(np.bincount(sliced.box_numbers))
    return [int(number) for number in full if _other_motifs(sliced, sliced.contents(int(number)))]


def mutate_submodule(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:  # noqa: ARG001
    """Move 10: the 1 to 4 atoms of a sub-module go to the sites of an original motif, a new arrangement."""
    mutable = mutable_submodules(sliced)
    if not mutable:
        raise MoveError("no_mutable_submodule")
    number = mutable[rng.integers(len(mutable))]
    atoms = sliced.contents(number)
    motifs = _other_motifs(sliced, atoms)
    motif = np.array(motifs[rng.integers(len(motifs))])
    sites = np.argsort(motif, kind="stable")[-len(atoms) :]  # empty sites, numbered 0, come first
    by_number = atoms[np.argsort(sliced.numbers[atoms], kind="stable")]
    offsets = sliced.offsets.copy()
    offsets[by_number] = _SITES[sites]
    return assemble(replace(sliced, offsets=offsets))


def _box_indices(numbers: NDArray[np.int64], grid: tuple[int, int, int]) -> NDArray[np.int64]:
    """Return the index along each axis of the boxes with these numbers, shape (n, 3)."""
    nx, ny, _ = grid
    return np.stack([numbers % nx, (numbers // nx) % ny, numbers // (nx * ny)], axis=-1)


def _other_motifs(sliced: SlicedStructure, atoms: NDArray[np.intp]) -> list[Occupancy]:
    """Return every occupancy of the motif sites by these atoms, except the current one; none above 4 atoms."""
    if len(atoms) > len(_SITES):
        return []
    species = [int(number) for number in sliced.numbers[atoms]]
    empty = [0] * (len(_SITES) - len(atoms))
    present = _present_motif(sliced, atoms)
    return sorted(motif for motif in set(permutations(species + empty)) if motif != present)


def _present_motif(sliced: SlicedStructure, atoms: NDArray[np.intp]) -> Occupancy | None:
    """Return the occupancy of the motif sites by these atoms, None if an atom is not on a site."""
    occupancy = [0] * len(_SITES)
    for number, offset in zip(sliced.numbers[atoms], sliced.offsets[atoms], strict=True):
        apart = np.abs(offset - _SITES)
        apart = np.minimum(apart, 1 - apart)  # just below 1 is the site at 0
        site = int(np.argmin(apart.max(axis=1)))
        if apart[site].max() > SAME_SITE:
            return None
        occupancy[site] = int(number)
    return tuple(occupancy)
