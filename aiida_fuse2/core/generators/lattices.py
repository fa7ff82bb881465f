"""Lattices as numbers between 0 and 1, with the constraints of the crystal system.

Uniform numbers give the lattices that ``symmetric`` draws (pyxtal): three lengths with normally distributed
logarithms, scaled to the volume; free angles normal around 90°. The volume is uniform between a little less
than that of the covalent and a little more than that of the van der Waals spheres of the atoms, times 1.1: the
46 published structures of the paper lie at -0.03 to 1.23 of that range. Crystals of molecules or of noble gases are
larger: theirs is around the volume of ``molecular``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import ClassVar, Protocol

import numpy as np
from ase.data import chemical_symbols, covalent_radii, vdw_radii
from ase.geometry import cellpar_to_cell
from numpy.typing import NDArray

from aiida_fuse2.core.chemistry.composition import formula_unit
from aiida_fuse2.core.chemistry.molecular import LEAST_VOLUME, SPREAD, molecular_volume
from aiida_fuse2.core.crystal.known import known_volumes
from aiida_fuse2.core.settings import NOTHING, KnownSettings

N_SHAPE = MappingProxyType(
    {"triclinic": 5, "monoclinic": 3, "orthorhombic": 2, "tetragonal": 1, "trigonal": 1, "hexagonal": 1, "cubic": 0}
)
"""How many numbers describe the shape of a lattice, besides its volume, by crystal system."""

LENGTH_WIDTH = 0.35
"""Standard deviation of the logarithm of each length before the scaling, as in pyxtal."""

AXIS_WIDTH = LENGTH_WIDTH * 3**0.5
"""Standard deviation of the logarithm of c over the cube root of the volume if a = b, as in pyxtal."""

ANGLE_WIDTH = MappingProxyType({"monoclinic": 20.0, "triclinic": 15.0})
"""Standard deviation of a free angle, degrees."""

EDGE = 1e-3
"""Numbers nearer to 0 or 1 are replaced by this: 3.1 standard deviations."""

LEAST_FLATNESS = 0.3
"""Smallest volume of a triclinic cell over the product of its lengths; three angles far from 90° may fit no cell."""

TILT_STEP = 0.9
"""Factor by which such angles are moved towards 90° until they fit a cell."""

VOLUME_FACTOR = 1.1
"""Volume of a cell over that of the spheres of its atoms, as in pyxtal."""

VOLUME_RANGE = (-0.1, 1.2)
"""Least and largest volume, from 0 where all spheres are covalent to 1 where all are those of van der Waals."""

DEFAULT_VDW = 1.6
"""Van der Waals radius over the covalent one, if none is tabulated."""

_PLANE = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2.0], [6.0]])
"""Two directions in which three logarithms change while their sum does not."""


@cache
def sphere_volumes(number: int) -> tuple[float, float]:
    """Return the volumes of an atom's covalent and van der Waals spheres, Å³."""
    covalent = float(covalent_radii[number])
    radius = float(vdw_radii[number])
    outer = radius if np.isfinite(radius) and radius > covalent else DEFAULT_VDW * covalent
    return 4 / 3 * np.pi * covalent**3, 4 / 3 * np.pi * outer**3


def _normal(value: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(min(max(value, EDGE), 1 - EDGE)))


def _flatness(tilts: NDArray[np.float64]) -> float:
    """Return the volume of a cell over the product of its lengths; 0 if there is no such cell.

    Args:
        tilts: how far each angle is from 90°, degrees, shape (3,).
    """
    cosines = -np.sin(np.radians(tilts))
    return float(np.sqrt(max(1 - (cosines**2).sum() + 2 * cosines.prod(), 0.0)))


class Lattice(Protocol):
    """Lattices of a crystal system."""

    @property
    def size(self) -> int:
        """How many numbers describe a lattice."""

    def cell(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return lattice vectors as rows, Å, shape (3, 3).

        Args:
            vector: numbers between 0 and 1, shape (size,).
        """


@dataclass(frozen=True, eq=False)
class KnownLattice:
    """A known cell, all lengths larger or smaller by the same factor within its tolerance.

    Attributes:
        vectors: lattice vectors as rows, Å, shape (3, 3).
        tolerance: largest relative deviation of the lengths.
    """

    vectors: NDArray[np.float64]
    tolerance: float
    size: ClassVar[int] = 1

    def cell(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return lattice vectors as rows, Å, shape (3, 3).

        Args:
            vector: number between 0 and 1, shape (1,).
        """
        scaled: NDArray[np.float64] = self.vectors * (1 + self.tolerance * (2 * float(vector[0]) - 1))
        return scaled


@dataclass(frozen=True)
class LatticeRange:
    """The range of the lattice of a structure.

    Attributes:
        system: crystal system.
        volume_min: smallest volume of the conventional cell, Å³.
        volume_max: largest volume of the conventional cell, Å³.
    """

    system: str
    volume_min: float
    volume_max: float

    @classmethod
    def of(cls, system: str, numbers: NDArray[np.int64], cells: float, known: KnownSettings = NOTHING) -> LatticeRange:
        """Return the range for atoms.

        Args:
            system: crystal system.
            numbers: atomic numbers in the primitive cell, shape (n,).
            cells: primitive cells in the conventional one.
            known: what is known of the structure.
        """
        volumes = known_volumes(known, [chemical_symbols[number] for number in numbers])
        if volumes is not None:
            return cls(system, cells * volumes[0], cells * volumes[1])
        counts = Counter(chemical_symbols[number] for number in numbers)
        volume = molecular_volume(formula_unit(counts))
        if volume is not None:
            middle = volume * len(numbers) * cells
            return cls(system, middle / SPREAD, middle * SPREAD)
        inner, outer = np.array([sphere_volumes(int(number)) for number in numbers]).sum(axis=0)
        least, most = (VOLUME_FACTOR * cells * (inner + f * (outer - inner)) for f in VOLUME_RANGE)
        smallest = cells * max(0.5 * VOLUME_FACTOR * inner, 0.5 * LEAST_VOLUME * len(numbers))
        return cls(system, float(max(least, smallest)), float(most))

    @property
    def size(self) -> int:
        """How many numbers describe a lattice."""
        return 1 + N_SHAPE[self.system]

    def cell(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return lattice vectors as rows, Å, shape (3, 3).

        Args:
            vector: numbers between 0 and 1, shape (size,): volume, then lengths, then angles.
        """
        volume = self.volume_min + float(vector[0]) * (self.volume_max - self.volume_min)
        shape = [_normal(float(value)) for value in vector[1:]]
        lengths, angles = self._proportions(shape)
        cell = np.array(cellpar_to_cell([*lengths, *angles]), dtype=float)
        scaled: NDArray[np.float64] = cell * (volume / abs(np.linalg.det(cell))) ** (1 / 3)
        return scaled

    def _proportions(self, shape: list[float]) -> tuple[NDArray[np.float64], list[float]]:
        """Return lengths up to a factor, and angles in degrees."""
        if self.system == "cubic":
            return np.ones(3), [90.0] * 3
        if self.system in {"tetragonal", "trigonal", "hexagonal"}:
            c = np.exp(AXIS_WIDTH * shape[0])
            gamma = 90.0 if self.system == "tetragonal" else 120.0
            return np.array([c**-0.5, c**-0.5, c]), [90.0, 90.0, gamma]
        lengths = np.exp(LENGTH_WIDTH * np.array(shape[:2]) @ _PLANE)
        if self.system == "orthorhombic":
            return lengths, [90.0] * 3
        tilts = ANGLE_WIDTH[self.system] * np.array(shape[2:])
        if self.system == "monoclinic":
            return lengths, [90.0, 90.0 + float(tilts[0]), 90.0]
        while _flatness(tilts) < LEAST_FLATNESS:
            tilts = TILT_STEP * tilts
        return lengths, [90.0 + float(tilt) for tilt in tilts]
