"""``fgen``: a random stacking of motifs, with the ions apart that repel each other.

After the original generator of FUSE (``fgen_paper``). A cell is a grid of sub-modules of about ``[ap, ap, ap/2]``,
whose sites hold the atoms (see ``submodules``). Four things differ, because most structures of the original are
refused, for cations ``ap/2`` apart, and because its right-angled cells all are one cubic lattice of sites:

- Z is drawn once. What is refused is drawn again with the same Z, so that large cells are as frequent as small ones.
- Lengths that the family does not tie are stretched, at the volume of the nominal grid.
- In half of the cells, modules of four-sided families are shifted at random by a quarter of a sub-module along one
  edge or both. A shift by (½,½), the original's, maps the four sites of a sub-module onto themselves. By (¼,¼) a
  module sits in the hollows of the one below, as in body-centred and face-centred lattices, by (¼,0) or (0,¼) on its
  bridges. In the other half modules sit on top of each other, as in rocksalt and perovskite. There is no rule of
  alternation, so that the number of modules may be odd.
- Cations are placed first, then anions, each on a site where it has room; of a few such sites it takes the one furthest
  from ions of its own kind, and nearest to the others.

What is known is obeyed, but for the space group: Z, of the conventional cell, of which a primitive cell holds a part;
the density; the cell, which is then divided into sub-modules of nearly the usual proportions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.cell import Cell
from ase.geometry import cellpar_to_cell
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.families import HEXAGONAL_GAMMA, BravaisFamily, box_cell, draw_angles, grids
from aiida_fuse2.core.crystal.known import known_lattices, known_volumes
from aiida_fuse2.core.crystal.validity import check_validity, contact_thresholds
from aiida_fuse2.core.errors import GenerationError

from .base import GeneratorContext, SingleGenerator
from .submodules import (
    CAPACITY,
    MIN_MEAN_OCCUPANCY,
    Grid,
    draw_choices,
    hexagonal_stacking,
    site_positions,
)

ATTEMPTS = 30
"""Cells that are drawn for one Z."""

GRIDS = 8
"""Grids of sub-modules that are drawn in a known cell."""

ON_TOP = 0.5
"""Chance that no module of a cell is shifted, where the family is not hexagonal."""

SHIFTS: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.25, 0.0), (0.0, 0.25), (0.25, 0.25))
"""In-plane shifts of modules, in units of a sub-module: all multiples of ¼ that differ, since the sites repeat at ½."""

STRETCH = 0.3
"""Largest logarithm of a length over the nominal one, before the volume is restored: c/a from 0.55 to 1.82."""

SITES = 4
"""Sites of which an ion takes the best; with one, ions of a kind meet often, with all, cells are too much alike."""

ROOM = 1.1
"""Distance of two atoms over the shortest allowed one, because structures are symmetrised and rattled afterwards."""

REACH = 1.25
"""Distance beyond which atoms do not matter to each other, in units of ``ap``: that of third neighbours is 0.87."""


def any_number(family: BravaisFamily, n_modules: int) -> bool:  # noqa: ARG001 - a rule of stacking
    """Return True: modules are stacked in any number."""
    return True


def module_shifts(family: BravaisFamily, n_modules: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the in-plane shift of each module, in units of a sub-module, shape (n_modules, 2)."""
    if family is BravaisFamily.HEXAGONAL:
        return hexagonal_stacking(n_modules, rng)
    if rng.random() < ON_TOP:
        return np.zeros((n_modules, 2))
    shifts: NDArray[np.float64] = np.array(SHIFTS)[rng.integers(len(SHIFTS), size=n_modules)]
    return shifts


def stretches(family: BravaisFamily, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the factor of each length of a cell, shape (3,), with the product 1; a family keeps its equal lengths."""
    logarithms = rng.uniform(-STRETCH, STRETCH, size=3)
    if family is BravaisFamily.CUBIC:
        return np.ones(3)
    if family in (BravaisFamily.TETRAGONAL, BravaisFamily.HEXAGONAL):
        logarithms[1] = logarithms[0]
    factors: NDArray[np.float64] = np.exp(logarithms - logarithms.mean())
    return factors


def site_distances(sites: Atoms, reach: float) -> NDArray[np.float64]:
    """Return the shortest distance of each pair of sites, Å, at most ``reach``, shape (n, n).

    On the diagonal is the distance of a site from its own images.

    Args:
        sites: the sites in their cell, n of them.
        reach: longest distance that matters, Å.
    """
    table = np.full((len(sites), len(sites)), reach)
    first, second, distances = neighbour_list("ijd", sites, reach)
    np.minimum.at(table, (first, second), distances)
    return table


class _Placing:
    """The sites of a cell while ions are put on them."""

    def __init__(self, sites: Atoms, context: GeneratorContext) -> None:
        elements = list(context.unit.elements)
        self.distances = site_distances(sites, REACH * context.ap)
        own = self.distances.diagonal()
        self.context = context
        self.limits = contact_thresholds(elements, context.radii, context.validity)
        self.roomy = {symbol: own >= ROOM * self.limits[symbol, symbol] for symbol in elements}
        self.nearest = {is_anion: own.copy() for is_anion in (False, True)}

    def put(self, symbol: str, rng: np.random.Generator) -> int | None:
        """Put an ion of an element on a site; return the site, or None if none has room."""
        found = np.flatnonzero(self.roomy[symbol])
        if not len(found):
            return None
        some = rng.choice(found, size=min(SITES, len(found)), replace=False)
        is_anion = symbol in self.context.anions
        site = int(some[np.argmax((self.nearest[is_anion] - self.nearest[not is_anion])[some])])
        away = self.distances[site]
        self.nearest[is_anion] = np.minimum(self.nearest[is_anion], away)
        for other in self.roomy:
            self.roomy[other] &= away >= ROOM * self.limits[symbol, other]
            self.roomy[other][site] = False
        return site


def place(sites: Atoms, symbols: list[str], context: GeneratorContext, rng: np.random.Generator) -> Atoms | None:
    """Return a structure with the atoms on sites of a cell, or None if there is no room for one of them.

    Args:
        sites: the sites in their cell, at least as many as atoms.
        symbols: elements of the atoms.
        context: radii, anions, and how near atoms may be.
        rng: source of the random order and sites.
    """
    placing, chosen = _Placing(sites, context), np.zeros(len(symbols), dtype=np.int64)
    order = rng.permutation(len(symbols))
    for atom in sorted(order, key=lambda index: symbols[index] in context.anions):  # stable: cations first
        site = placing.put(symbols[atom], rng)
        if site is None:
            return None
        chosen[atom] = site
    return Atoms(symbols, positions=sites.positions[chosen], cell=sites.cell, pbc=True)


def _sites(grid: Grid, shifts: NDArray[np.float64], cell: NDArray[np.float64]) -> Atoms:
    """Return all sites of a grid in a cell, as atoms."""
    places = site_positions(grid, shifts)
    return Atoms(numbers=np.ones(len(places)), scaled_positions=places, cell=cell, pbc=True)


def _cells(context: GeneratorContext, rng: np.random.Generator) -> tuple[int, Callable[[], Atoms]]:
    """Return Z, and what draws the sites of a cell for it, of the known density if there is one."""
    choices = draw_choices(context, any_number, rng)
    volumes = known_volumes(context.known, context.unit.symbols(choices.z))

    def draw() -> Atoms:
        family, grid = choices.draw(rng)
        cell = box_cell(grid, context.ap, draw_angles(family, rng)) * stretches(family, rng)[:, np.newaxis]
        if volumes is not None:
            cell *= np.cbrt(rng.uniform(*volumes) / abs(np.linalg.det(cell)))
        return _sites(grid, module_shifts(family, grid[2], rng), cell)

    return choices.z, draw


def _cells_in_known(context: GeneratorContext, rng: np.random.Generator) -> tuple[int, Callable[[], Atoms]]:
    """Return Z, and what draws sites in primitive cells of the known cell for it, modules along any axis."""
    known, unit = context.known, context.unit
    lattices = known_lattices(unit, known, context.max_atoms, context.min_atoms)
    if not lattices:
        limits = f"{unit.formula}: no cell of {context.min_atoms} to {context.max_atoms} atoms"
        raise GenerationError("no_feasible_grid", limits)
    values = sorted({z for z, _ in lattices})
    z = values[rng.integers(len(values))]
    bases = [np.array(basis) for number, basis in lattices if number == z]

    def draw() -> Atoms:
        primitive = bases[rng.integers(len(bases))] @ np.array(cellpar_to_cell(known.cell))
        cell = np.roll(primitive, rng.integers(3), axis=0) * (1 + known.cell_tolerance * rng.uniform(-1, 1))
        near = nearest_grids(cell, z * unit.n_atoms)
        grid = near[rng.integers(len(near))]
        gamma = Cell(cell).angles()[2]
        family = BravaisFamily.HEXAGONAL if abs(gamma - HEXAGONAL_GAMMA) < 1 else BravaisFamily.TRICLINIC
        return _sites(grid, module_shifts(family, grid[2], rng), cell)

    return z, draw


def nearest_grids(cell: NDArray[np.float64], n_atoms: int) -> list[Grid]:
    """Return the grids that can hold atoms in a cell and whose sub-modules have the most usual proportions.

    Args:
        cell: lattice vectors as rows, Å, shape (3, 3).
        n_atoms: number of atoms.
    """
    fewest = -(-n_atoms // CAPACITY)
    most = max(fewest + 1, int(n_atoms / MIN_MEAN_OCCUPANCY))
    lengths = np.linalg.norm(cell, axis=1)

    def oddness(grid: Grid) -> float:
        logarithms = np.log(lengths / np.array(grid) / np.array([1.0, 1.0, 0.5]))
        return float(np.ptp(logarithms))

    every = [grid for n in range(fewest, most + 1) for grid in grids(n, BravaisFamily.TRICLINIC)]
    return sorted(every, key=oddness)[:GRIDS]


class FGen(SingleGenerator):
    """Random stacking of motifs on a grid of sub-modules, like-charged ions apart."""

    name = "fgen"
    in_process = True

    def __call__(self, context: GeneratorContext, rng: np.random.Generator) -> Atoms:
        """Return one valid structure of the composition within the atom limits.

        Raises:
            GenerationError: ``no_feasible_grid`` if nothing fits the limits; if every cell drawn is refused, why the
                last one is: ``too_crowded`` if it has no room for the atoms.
        """
        z, draw = _cells_in_known(context, rng) if context.known.cell else _cells(context, rng)
        symbols, refusal = context.unit.symbols(z), ""
        for _ in range(ATTEMPTS):
            atoms = place(draw(), symbols, context, rng)
            refusal = "too_crowded" if atoms is None else self._refusal(atoms, context)
            if atoms is not None and not refusal:
                return atoms
        raise GenerationError(refusal, f"{context.unit.formula}: {ATTEMPTS} cells with Z = {z} are refused")

    @staticmethod
    def _refusal(atoms: Atoms, context: GeneratorContext) -> str:
        refusal = check_validity(
            atoms, unit=context.unit, radii=context.radii, max_atoms=context.max_atoms, settings=context.validity
        )
        return "" if refusal is None else str(refusal)
