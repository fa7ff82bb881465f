"""Cutting a structure into sub-modules, and putting it together again.

A grid of boxes is laid over the cell; every atom belongs to exactly one box, and is stored as the index
of its box with its fractional position inside it. Boxes are half-open intervals of fractional
coordinates, so no atom is lost or counted twice in a cell of any shape, and assembling an unchanged
slicing gives the same crystal. (Paper section 2.2 and Fig. 2.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.geometry import cell_to_cellpar
from numpy.typing import NDArray

BOUNDARY_TOLERANCE = 1e-7
"""An atom this close to a face between boxes, Å, is moved onto it. Atoms on special positions lie on such
faces; without this, rounding errors of the last digit would decide to which box they belong."""


@dataclass(frozen=True, eq=False)
class SlicedStructure:
    """A structure as sub-modules on a grid; modules are the layers along the third axis.

    Attributes:
        cell: lattice vectors as rows, Å, shape (3, 3).
        grid: number of boxes along each axis.
        numbers: atomic numbers, shape (n,).
        boxes: index of each atom's box along each axis, shape (n, 3), ``0 <= boxes < grid``.
        offsets: position of each atom in its box as fractions of the box, shape (n, 3), in [0, 1).
    """

    cell: NDArray[np.float64]
    grid: tuple[int, int, int]
    numbers: NDArray[np.int64]
    boxes: NDArray[np.int64]
    offsets: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def n_boxes(self) -> int:
        """Number of sub-modules."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    @property
    def n_modules(self) -> int:
        """Number of modules (layers along c)."""
        return self.grid[2]

    @property
    def fractional(self) -> NDArray[np.float64]:
        """Fractional coordinates in the cell, shape (n, 3), in [0, 1)."""
        scaled = (self.boxes + self.offsets) / np.asarray(self.grid)
        scaled[scaled >= 1.0] = 0.0  # the last digit of an offset near 1 is lost in a box further along
        return scaled

    @property
    def box_numbers(self) -> NDArray[np.int64]:
        """Number of each atom's box, shape (n,): x fastest, then y, then z (module by module)."""
        nx, ny, _ = self.grid
        return self.boxes[:, 0] + nx * (self.boxes[:, 1] + ny * self.boxes[:, 2])

    def box_index(self, number: int) -> tuple[int, int, int]:
        """Return the index along each axis of box ``number``."""
        nx, ny, _ = self.grid
        return number % nx, (number // nx) % ny, number // (nx * ny)

    def contents(self, number: int) -> NDArray[np.int64]:
        """Return the indices of the atoms in box ``number``."""
        return np.flatnonzero(self.box_numbers == number)

    def with_boxes(self, boxes: NDArray[np.int64]) -> SlicedStructure:
        """Return a copy whose atoms lie in other boxes of the same grid."""
        return replace(self, boxes=np.array(boxes, dtype=np.int64))


def grid_of(cell: NDArray[np.float64], ap: float) -> tuple[int, int, int]:
    """Return the grid whose boxes are nearest to ``[ap, ap, ap/2]``, at least one along each axis.

    Args:
        cell: lattice vectors as rows, Å, shape (3, 3).
        ap: module size, Å.
    """
    lengths = cell_to_cellpar(cell)[:3]
    nominal = np.array([ap, ap, ap / 2])
    nx, ny, nz = (max(1, int(n)) for n in np.floor(lengths / nominal + 0.5))
    return nx, ny, nz


def slice_structure(atoms: Atoms, ap: float, grid: tuple[int, int, int] | None = None) -> SlicedStructure:
    """Cut a structure into sub-modules.

    Args:
        atoms: a structure with three lattice vectors; it is not changed.
        ap: module size, Å; the box is ``[ap, ap, ap/2]``.
        grid: number of boxes along each axis; by default from ``ap``.

    Returns:
        The slicing; its boxes are ``cell vectors / grid``, so they inherit the angles of the cell.
    """
    cell = np.array(atoms.cell.array, dtype=float)
    chosen = grid or grid_of(cell, ap)
    inside = np.linalg.solve(cell.T, atoms.positions.T).T * np.asarray(chosen)
    faces = np.round(inside)
    distance = np.abs(inside - faces) * np.linalg.norm(cell, axis=1) / np.asarray(chosen)
    inside = np.where(distance < BOUNDARY_TOLERANCE, faces, inside)
    boxes = np.floor(inside)
    return SlicedStructure(
        cell=cell,
        grid=chosen,
        numbers=np.array(atoms.numbers, dtype=np.int64),
        boxes=boxes.astype(np.int64) % np.asarray(chosen),
        offsets=inside - boxes,
    )


def assemble(sliced: SlicedStructure) -> Atoms:
    """Return the crystal of a slicing, with all atoms inside the cell."""
    return Atoms(numbers=sliced.numbers, scaled_positions=sliced.fractional, cell=sliced.cell, pbc=True)
