"""``fgen_paper``, the original generator of FUSE: a random stacking of motifs (paper section 2.2).

The atoms are put on all sites of a grid of nominal sub-modules at random (see ``submodules``). With right angles the
sites form a simple cubic lattice of spacing ``ap/2``: rocksalt fills it, perovskite is an ordered arrangement of
vacancies in it. The experiments of the paper use this generator; searches use ``fgen``.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.families import BravaisFamily, box_cell, draw_angles
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import SearchSettings

from .base import GeneratorContext, SingleGenerator
from .submodules import draw_choices, hexagonal_stacking, site_positions

SQUARE_OFFSETS: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.5, 0.5))
"""In-plane offsets that modules alternate between where γ = 90°, in units of a sub-module."""


def can_alternate(family: BravaisFamily, n_modules: int) -> bool:
    """Return whether the stacking rule can be fulfilled: alternation (γ = 90°) needs an even number of modules.

    The hexagonal family can always close, and the triclinic one has no rule.
    """
    if family in (BravaisFamily.HEXAGONAL, BravaisFamily.TRICLINIC):
        return True
    return n_modules % 2 == 0


def module_offsets(family: BravaisFamily, n_modules: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the in-plane offset of each module, in units of a sub-module, shape (n_modules, 2).

    γ = 90° (cubic, tetragonal, orthorhombic, monoclinic) alternates (0,0) and (½,½); γ = 120° draws from
    (0,0), (⅓,⅔), (⅔,⅓), never equal neighbours, last unlike first (the first is the origin). Triclinic
    modules are not offset: a shift by (½,½) maps the sites onto themselves, and the free angles shift
    successive modules anyway.
    """
    if family is BravaisFamily.HEXAGONAL:
        return hexagonal_stacking(n_modules, rng)
    if family is BravaisFamily.TRICLINIC:
        return np.zeros((n_modules, 2))
    return np.array(SQUARE_OFFSETS)[np.arange(n_modules) % 2]


class FGenPaper(SingleGenerator):
    """Random stacking of motifs on a grid of sub-modules, as in the paper (section 2.2)."""

    name = "fgen_paper"
    in_process = True

    def check(self, settings: SearchSettings, *, where: str) -> None:
        """Check that nothing is known, which the generator of the paper could not obey.

        Raises:
            InputError: if something is.
        """
        if not settings.known.is_empty:
            known = settings.known.model_dump(exclude_none=True)
            raise InputError(f"{where}.known", known, f"{self.name} does not obey it; use fgen")

    def __call__(self, context: GeneratorContext, rng: np.random.Generator) -> Atoms:
        """Return one structure of the composition within the atom limits.

        Raises:
            GenerationError: ``no_feasible_grid``, if no draw can succeed; any other draw succeeds.
        """
        choices = draw_choices(context, can_alternate, rng)
        family, grid = choices.draw(rng)
        cell = box_cell(grid, context.ap, draw_angles(family, rng))
        sites = site_positions(grid, module_offsets(family, grid[2], rng))
        symbols = context.unit.symbols(choices.z)
        chosen = rng.permutation(len(sites))[: len(symbols)]
        return Atoms(symbols, scaled_positions=sites[chosen], cell=cell, pbc=True)
