"""Grids of sub-modules that hold a composition: shared by the generators ``fgen`` and ``fgen_paper``.

A cell is a grid of sub-modules of nominal size ``[ap, ap, ap/2]``. Each holds 0 to 4 atoms on the four
in-plane sites (0,0), (½,0), (½,½), (0,½) at half its height; a motif is the occupancy of these sites.
The paper (section 2.2) counts eight motifs: up to rotations, reflections and translations by half a sub-module the
occupancies are fewer, as plain subsets of four sites they are sixteen. Here every subset occurs, since
the atoms are put on all the sites of the cell at random.

Z and grid are drawn from a list of all combinations that fit, so that no attempt is wasted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.families import MAX_ASPECT, MID_HEIGHT, MOTIF_SITES, BravaisFamily, aspect, grids
from aiida_fuse2.core.crystal.known import primitive_units
from aiida_fuse2.core.errors import GenerationError

from .base import GeneratorContext

CAPACITY = len(MOTIF_SITES)
"""Largest number of atoms of a sub-module."""

MIN_MEAN_OCCUPANCY = 1.5
"""Smallest number of atoms per sub-module, as a mean over the cell.

The 46 published structures of the paper hold 1.6 (tourmaline, WCl2) to 5.0 atoms in the volume of a
nominal sub-module, and Mn 7.7: with the capacity of four, emptier grids are further from any of them."""

HEXAGONAL_OFFSETS: tuple[tuple[float, float], ...] = ((0.0, 0.0), (1 / 3, 2 / 3), (2 / 3, 1 / 3))
"""In-plane offsets of modules where γ = 120°, in units of a sub-module."""

Grid = tuple[int, int, int]

StackingRule = Callable[[BravaisFamily, int], bool]
"""Whether a number of modules of a family can be stacked."""


class Choices(NamedTuple):
    """The grids of each family that can hold ``z`` formula units."""

    z: int
    families: tuple[tuple[BravaisFamily, tuple[Grid, ...]], ...]

    def draw(self, rng: np.random.Generator) -> tuple[BravaisFamily, Grid]:
        """Draw the family, then the grid, each with equal weight."""
        family, usable = self.families[rng.integers(len(self.families))]
        return family, usable[rng.integers(len(usable))]


@lru_cache(maxsize=4096)
def _usable_grids(n_boxes: int, family: BravaisFamily, rule: StackingRule) -> tuple[Grid, ...]:
    return tuple(g for g in grids(n_boxes, family) if rule(family, g[2]) and aspect(g) <= MAX_ASPECT)


def _families_holding(n_atoms: int, rule: StackingRule) -> tuple[tuple[BravaisFamily, tuple[Grid, ...]], ...]:
    """Return the usable grids by family, for all numbers of boxes in the window of mean occupancy.

    The fewest boxes are allowed whatever their occupancy: one atom cannot fill half of a box.
    """
    fewest = -(-n_atoms // CAPACITY)
    most = max(fewest, int(n_atoms / MIN_MEAN_OCCUPANCY))
    found = []
    for family in BravaisFamily:
        usable = tuple(g for n in range(fewest, most + 1) for g in _usable_grids(n, family, rule))
        if usable:
            found.append((family, usable))
    return tuple(found)


@lru_cache(maxsize=256)
def feasible_choices(atoms_per_unit: int, min_atoms: int, max_atoms: int, rule: StackingRule) -> tuple[Choices, ...]:
    """Return every Z that fits the atom limits, with the families and grids that can hold it.

    Args:
        atoms_per_unit: atoms of a formula unit.
        min_atoms: smallest number of atoms of a cell.
        max_atoms: largest number of atoms of a cell.
        rule: which numbers of modules can be stacked.
    """
    fits = range(max(1, -(-min_atoms // atoms_per_unit)), max_atoms // atoms_per_unit + 1)
    every = (Choices(z, _families_holding(z * atoms_per_unit, rule)) for z in fits)
    return tuple(choices for choices in every if choices.families)


def draw_choices(context: GeneratorContext, rule: StackingRule, rng: np.random.Generator) -> Choices:
    """Draw Z with equal weight among the feasible ones; the families and grids that can hold it come with it.

    Raises:
        GenerationError: ``no_feasible_grid`` if no Z fits the limits, and what is known, at all.
    """
    feasible = feasible_choices(context.unit.n_atoms, context.min_atoms, context.max_atoms, rule)
    allowed = primitive_units(context.known)
    if allowed is not None:
        feasible = tuple(choices for choices in feasible if choices.z in allowed)
    if not feasible:
        limits = f"{context.unit.formula}: no cell of {context.min_atoms} to {context.max_atoms} atoms"
        raise GenerationError("no_feasible_grid", limits)
    return feasible[rng.integers(len(feasible))]


def hexagonal_stacking(n_modules: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the in-plane offset of each module where γ = 120°, in units of a sub-module, shape (n_modules, 2).

    All stackings of ``HEXAGONAL_OFFSETS`` without equal neighbours are equally likely; the last differs from the
    first too, which is at the origin. One module has no neighbour to differ from; two or more can always close.
    """
    offsets = np.array(HEXAGONAL_OFFSETS)
    if n_modules == 1:
        return offsets[:1]
    while True:  # about a third of the draws ends on the first offset again
        steps = rng.integers(1, 3, size=n_modules - 1)
        stacking = np.concatenate([[0], np.cumsum(steps) % 3])
        if stacking[-1] != 0:
            found: NDArray[np.float64] = offsets[stacking]
            return found


def site_positions(grid: Grid, offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fractional coordinates of all sites of a grid, shape (4 x boxes, 3), in [0, 1).

    Args:
        grid: number of sub-modules along each axis.
        offsets: in-plane offset of each module in units of a sub-module, shape (grid[2], 2).
    """
    nx, ny, nz = grid
    iz, iy, ix, site = (a.ravel() for a in np.indices((nz, ny, nx, CAPACITY)))
    in_plane = np.array(MOTIF_SITES)[site] + offsets[iz]
    fractional = np.column_stack([ix + in_plane[:, 0], iy + in_plane[:, 1], iz + MID_HEIGHT]) / np.array(grid)
    wrapped: NDArray[np.float64] = fractional % 1.0
    return wrapped
