"""``symmetric``: random structures in random space groups.

After pyxtal (S. Fredericks, K. Parrish, D. Sayre, Q. Zhu, Comput. Phys. Commun. 2021, 261, 107810,
DOI 10.1016/j.cpc.2020.107810), whose Wyckoff positions are used. Few degrees of freedom make such starts cheap to
relax.

- Atoms are counted in the primitive cell, which is the cell that is relaxed.
- Z is uniform over what fits; then the space group is drawn, as often as crystals have it (see ``frequencies``), among
  those (2-230) whose Wyckoff positions can hold the composition, so that no attempt is spent on an incompatible group.
- Lattices are those of pyxtal (see ``lattices``), with a volume between that of the covalent and that of the van der
  Waals spheres. The 46 published structures of the paper lie at -0.03 (Mn) to 1.23 (Cu7S4) of this range, 0.65 in
  the mean: no single factor fits them.
- Atoms keep away from each other: each site takes the one of a few random positions that is furthest from the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

from aiida_fuse2.core.crystal.frequencies import draw_group
from aiida_fuse2.core.crystal.known import fitting_units, groups_for
from aiida_fuse2.core.crystal.symmetry import SymmetryError, primitive_cell
from aiida_fuse2.core.crystal.validity import shortest_contact
from aiida_fuse2.core.errors import GenerationError
from aiida_fuse2.core.settings import KnownSettings

from .base import GeneratorContext, SingleGenerator
from .templates import draw_template

MAX_SAMPLES = 10
"""Lattices and coordinates tried for one space group and Wyckoff assignment."""

MIN_CONTACT = 0.5
"""Shortest distance of a structure as a fraction of the covalent radii, as in pyxtal."""

CITATION = (
    "S. Fredericks, K. Parrish, D. Sayre, Q. Zhu, PyXtal: a Python library for crystal structure generation and "
    "symmetry analysis, Comput. Phys. Commun. 261, 107810 (2021), https://doi.org/10.1016/j.cpc.2020.107810"
)

SYMMETRIC = "2-230"
"""Space groups to draw from, unless others are known."""

PRIMITIVE_SYMPREC = 1e-3
"""Tolerance for finding the primitive cell of a structure whose symmetry is exact, Å."""


def _draw_contents(context: GeneratorContext, rng: np.random.Generator) -> tuple[tuple[int, ...], int]:
    """Draw the number of atoms of each element in the primitive cell, then the space group."""
    fits = fitting_units(context.unit, context.max_atoms, context.min_atoms, SYMMETRIC, context.known)
    if not fits:
        limits = f"{context.unit.formula}: no cell of {context.min_atoms} to {context.max_atoms} atoms"
        raise GenerationError("no_feasible_z", limits)
    z = fits[rng.integers(len(fits))]
    counts = tuple(z * number for _, number in context.unit.counts)
    groups = groups_for(context.unit, z, SYMMETRIC, context.known)
    return counts, draw_group(groups, rng)


def _random_atoms(
    elements: tuple[str, ...], counts: tuple[int, ...], number: int, known: KnownSettings, rng: np.random.Generator
) -> Atoms:
    """Return a random structure in the primitive cell of a space group.

    Raises:
        GenerationError: ``too_crowded``.
    """
    template = draw_template(elements, counts, number, rng, known)
    for _ in range(MAX_SAMPLES):
        atoms = template.decode(template.sample(rng))
        if shortest_contact(atoms) >= MIN_CONTACT:
            return atoms
    raise GenerationError("too_crowded", f"space group {number}, {template.wyckoff}: no room found")


class Symmetric(SingleGenerator):
    """Random structures in random space groups."""

    name = "symmetric"

    def citations(self, settings: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 - the same for all settings
        """Return the work on pyxtal."""
        return (CITATION,)

    def __call__(self, context: GeneratorContext, rng: np.random.Generator) -> Atoms:
        """Return the primitive cell of one structure of the composition within the atom limits.

        A random structure can have a smaller primitive cell than was asked for; it then has a lower Z.

        Raises:
            GenerationError: ``no_feasible_z`` if nothing fits the limits; ``too_crowded`` if this attempt
                found no room for the atoms; ``no_symmetry`` if spglib cannot read the structure;
                ``outside_limits`` if the primitive cell turned out to be smaller than ``min_atoms``.
        """
        counts, number = _draw_contents(context, rng)
        drawn = _random_atoms(context.unit.elements, counts, number, context.known, rng)
        try:
            atoms = primitive_cell(drawn, PRIMITIVE_SYMPREC)
        except SymmetryError as error:
            raise GenerationError("no_symmetry", str(error)) from error
        if context.unit.z_of(atoms) is None or not context.min_atoms <= len(atoms) <= context.max_atoms:
            detail = f"space group {number}: {atoms.get_chemical_formula()} in the primitive cell"
            raise GenerationError("outside_limits", detail)
        atoms.wrap()
        return atoms
