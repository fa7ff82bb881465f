"""``fgen``, the original generator of FUSE: a random stacking of motifs (paper section 2.2).

A cell is a grid of sub-modules of nominal size ``[ap, ap, ap/2]``. Each holds 0 to 4 atoms on the four
in-plane sites (0,0), (½,0), (½,½), (0,½) at half its height; a motif is the occupancy of these sites.
The paper counts eight motifs: up to rotations, reflections and translations by half a sub-module the
occupancies are fewer, as plain subsets of four sites they are sixteen. Here every subset occurs, since
the atoms are put on all the sites of the cell at random.

With right angles the sites form a simple cubic lattice of spacing ``ap/2``: rocksalt fills it,
perovskite is an ordered arrangement of vacancies in it.

Z and grid are drawn together, from a list of all combinations that fit, so that no attempt is wasted.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

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
    grids,
)
from aiida_fuse2.core.errors import GenerationError

from .base import GeneratorContext, SingleGenerator

CAPACITY = len(MOTIF_SITES)
"""Largest number of atoms of a sub-module."""

MIN_MEAN_OCCUPANCY = 1.5
"""Smallest number of atoms per sub-module, as a mean over the cell.

The 46 published structures of the paper hold 1.6 (tourmaline, WCl2) to 5.0 atoms in the volume of a
nominal sub-module, and Mn 7.7: with the capacity of four, emptier grids are further from any of them."""

SQUARE_OFFSETS: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.5, 0.5))
"""In-plane offsets that modules alternate between where γ = 90°, in units of a sub-module."""

HEXAGONAL_OFFSETS: tuple[tuple[float, float], ...] = ((0.0, 0.0), (1 / 3, 2 / 3), (2 / 3, 1 / 3))
"""In-plane offsets of modules where γ = 120°, in units of a sub-module."""

Grid = tuple[int, int, int]


class Template(NamedTuple):
    """The properties of a cell that are drawn before its angles and atoms."""

    z: int
    family: BravaisFamily
    grid: Grid


class Choices(NamedTuple):
    """The grids of each family that can hold ``z`` formula units."""

    z: int
    families: tuple[tuple[BravaisFamily, tuple[Grid, ...]], ...]


def _can_stack(family: BravaisFamily, n_modules: int) -> bool:
    """Return whether the stacking rule can be fulfilled: alternation (γ = 90°) needs an even number of modules.

    One hexagonal module has no neighbour to differ from; two or more can always close. The triclinic
    family has no rule.
    """
    if family in (BravaisFamily.HEXAGONAL, BravaisFamily.TRICLINIC):
        return True
    return n_modules % 2 == 0


@lru_cache(maxsize=4096)
def _usable_grids(n_boxes: int, family: BravaisFamily) -> tuple[Grid, ...]:
    return tuple(g for g in grids(n_boxes, family) if _can_stack(family, g[2]) and aspect(g) <= MAX_ASPECT)


def _families_holding(n_atoms: int) -> tuple[tuple[BravaisFamily, tuple[Grid, ...]], ...]:
    """Return the usable grids by family, for all numbers of boxes in the window of mean occupancy.

    The fewest boxes are allowed whatever their occupancy: one atom cannot fill half of a box.
    """
    fewest = -(-n_atoms // CAPACITY)
    most = max(fewest, int(n_atoms / MIN_MEAN_OCCUPANCY))
    found = []
    for family in BravaisFamily:
        usable = tuple(g for n in range(fewest, most + 1) for g in _usable_grids(n, family))
        if usable:
            found.append((family, usable))
    return tuple(found)


@lru_cache(maxsize=256)
def feasible_choices(atoms_per_unit: int, min_atoms: int, max_atoms: int) -> tuple[Choices, ...]:
    """Return every Z that fits the atom limits, with the families and grids that can hold it.

    Args:
        atoms_per_unit: atoms of a formula unit.
        min_atoms: smallest number of atoms of a cell.
        max_atoms: largest number of atoms of a cell.
    """
    fits = range(max(1, -(-min_atoms // atoms_per_unit)), max_atoms // atoms_per_unit + 1)
    every = (Choices(z, _families_holding(z * atoms_per_unit)) for z in fits)
    return tuple(choices for choices in every if choices.families)


def draw_template(context: GeneratorContext, rng: np.random.Generator) -> Template:
    """Draw Z, then the family, then the grid, each with equal weight among the feasible ones.

    Raises:
        GenerationError: ``no_feasible_grid`` if no Z fits the limits at all.
    """
    feasible = feasible_choices(context.unit.n_atoms, context.min_atoms, context.max_atoms)
    if not feasible:
        limits = f"{context.unit.formula}: no cell of {context.min_atoms} to {context.max_atoms} atoms"
        raise GenerationError("no_feasible_grid", limits)
    choices = feasible[rng.integers(len(feasible))]
    family, usable = choices.families[rng.integers(len(choices.families))]
    return Template(choices.z, family, usable[rng.integers(len(usable))])


def _hexagonal_stacking(n_modules: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return indices of offsets, all stackings equally likely, no two equal neighbours around the cell."""
    if n_modules == 1:
        return np.zeros(1, dtype=np.int64)
    while True:  # about a third of the draws ends on the first offset again
        steps = rng.integers(1, 3, size=n_modules - 1)
        stacking = np.concatenate([[0], np.cumsum(steps) % 3])
        if stacking[-1] != 0:
            return stacking


def module_offsets(family: BravaisFamily, n_modules: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the in-plane offset of each module, in units of a sub-module, shape (n_modules, 2).

    γ = 90° (cubic, tetragonal, orthorhombic, monoclinic) alternates (0,0) and (½,½); γ = 120° draws from
    (0,0), (⅓,⅔), (⅔,⅓), never equal neighbours, last unlike first (the first is the origin). Triclinic
    modules are not offset: a shift by (½,½) maps the sites onto themselves, and the free angles shift
    successive modules anyway.
    """
    if family is BravaisFamily.HEXAGONAL:
        return np.array(HEXAGONAL_OFFSETS)[_hexagonal_stacking(n_modules, rng)]
    if family is BravaisFamily.TRICLINIC:
        return np.zeros((n_modules, 2))
    return np.array(SQUARE_OFFSETS)[np.arange(n_modules) % 2]


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


class FGen(SingleGenerator):
    """Random stacking of motifs on a grid of sub-modules (paper section 2.2)."""

    name = "fgen"
    in_process = True

    def __call__(self, context: GeneratorContext, rng: np.random.Generator) -> Atoms:
        """Return one structure of the composition within the atom limits.

        Raises:
            GenerationError: ``no_feasible_grid``, if no draw can succeed; any other draw succeeds.
        """
        z, family, grid = draw_template(context, rng)
        cell = box_cell(grid, context.ap, draw_angles(family, rng))
        sites = site_positions(grid, module_offsets(family, grid[2], rng))
        symbols = context.unit.symbols(z)
        chosen = rng.permutation(len(sites))[: len(symbols)]
        return Atoms(symbols, scaled_positions=sites[chosen], cell=cell, pbc=True)
