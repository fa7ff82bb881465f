"""Vacant sites of a crystal: where an atom can go without touching another (moves 2, 4 and 6)."""

from __future__ import annotations

import numpy as np
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray

GRID_SPACING = 0.4
"""Largest distance between neighbouring points of the grid of sites, Å. Half of it is far below any
bond, so that no hole is missed; a relaxation moves the atom to the middle of its hole."""


class VacancyMap:
    """The points of a grid over a cell, and which of them are vacant.

    A site is vacant when it is further than ``exclusion`` from every atom, periodic images included
    (paper section 2.2, move 2). The grid is laid over the reduced cell of the same lattice, so it is
    as even in a very skewed cell as in a cubic one; its sites are given in the cell as passed.

    Args:
        cell: lattice vectors as rows, Å, shape (3, 3); any shape of positive volume.
        fractional: fractional coordinates of the atoms, shape (n, 3).
        exclusion: smallest distance of a vacant site from any atom, Å.
    """

    def __init__(self, cell: NDArray[np.float64], fractional: NDArray[np.float64], exclusion: float) -> None:
        reduced, _ = minkowski_reduce(cell)
        lengths = np.linalg.norm(reduced, axis=1)
        self._exclusion = exclusion
        self._counts = np.ceil(lengths / GRID_SPACING).astype(np.int64)
        self._voxel = reduced / self._counts[:, None]
        self._to_grid = cell @ np.linalg.inv(self._voxel)
        self._stencil = _stencil(self._voxel, exclusion)
        # an atom in a lattice with a shorter vector would touch its own image wherever it went
        self._vacant = np.full(self._counts, bool(lengths.min() > exclusion))
        for place in fractional:
            self.occupy(place)

    def __len__(self) -> int:
        """Number of vacant sites."""
        return int(np.count_nonzero(self._vacant))

    @property
    def places(self) -> NDArray[np.float64]:
        """Fractional coordinates of the vacant sites in the cell as passed, shape (m, 3), in [0, 1)."""
        return self._in_cell(np.argwhere(self._vacant))

    def occupy(self, place: NDArray[np.float64]) -> None:
        """Put an atom at fractional coordinates ``place``, shape (3,): sites near it are no longer vacant."""
        centre = place @ self._to_grid
        points = np.floor(centre).astype(np.int64) + self._stencil
        near = np.linalg.norm((points - centre) @ self._voxel, axis=1) <= self._exclusion
        # points beyond the cell are sites inside it: this is where the periodic images come in
        taken = points[near] % self._counts
        self._vacant[taken[:, 0], taken[:, 1], taken[:, 2]] = False

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw sites that are also further than ``exclusion`` from each other, and occupy them.

        Returns:
            Fractional coordinates, shape (m, 3) with m <= count: fewer if there is no room for more.
        """
        drawn = np.empty((0, 3))
        while len(drawn) < count and len(self):
            place = self.places[rng.integers(len(self))]
            drawn = np.vstack([drawn, place])
            self.occupy(place)
        return drawn

    def _in_cell(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        scaled = points @ np.linalg.inv(self._to_grid)
        scaled -= np.floor(scaled)
        scaled[scaled >= 1.0] = 0.0
        return np.asarray(scaled, dtype=np.float64)


def _stencil(voxel: NDArray[np.float64], radius: float) -> NDArray[np.int64]:
    """Return offsets of all grid points within ``radius`` of any point in the voxel at 0, shape (m, 3)."""
    spacings = 1.0 / np.linalg.norm(np.linalg.inv(voxel), axis=0)
    reach = np.ceil(radius / spacings).astype(np.int64)
    axes = [np.arange(-r, r + 2) for r in reach]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
