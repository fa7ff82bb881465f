"""Move ``strain``: the cell is deformed at random, and the atoms a little with it."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from aiida_fuse2.core.crystal.slicing import SlicedStructure

from .base import MoveContext, make_crystal

LARGEST = 0.15
"""Largest component of the strain."""

VOLUMES = (0.95, 1.1)
"""Range of the new volume as a fraction of the old one."""

RATTLE = 0.1
"""Standard deviation of the displacement of each atom along each axis, Å."""


def strain_cell(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:  # noqa: ARG001
    """The cell gets a random symmetric strain at about the same volume, and the atoms are rattled.

    Not among the paper's; the lattice mutation of USPEX (Glass, Oganov and Hansen 2006, Comput. Phys. Commun. 175,
    713).
    """
    components = rng.uniform(-LARGEST, LARGEST, size=(3, 3))
    strained = sliced.cell @ (np.eye(3) + np.triu(components) + np.triu(components, 1).T)
    volume = rng.uniform(*VOLUMES) * abs(np.linalg.det(sliced.cell))
    strained *= np.cbrt(volume / abs(np.linalg.det(strained)))
    shifts = RATTLE * rng.standard_normal((len(sliced), 3)) @ np.linalg.inv(strained)
    return make_crystal(sliced.numbers, sliced.fractional + shifts, strained)
