"""Vacant sites of a crystal: where an atom can go without touching another (moves 2, 4 and 6)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray

GRID_SPACING = 0.4
"""Largest distance between neighbouring points of the grid of sites, Å. Half of it is far below any
bond, so that no hole is missed; a relaxation moves the atom to the middle of its hole."""


class VacancyMap:
    """The points of a grid over a cell, and for each species which of them are vacant.

    A site is vacant for a species when it is further from every occupant, periodic images included, than the
    distance of that pair, and no lattice vector is shorter than the distance of the species from itself. The grid
    is laid over the reduced cell of the same lattice, so it is as even in a very skewed cell as in a cubic one; its
    sites are given in the cell as passed.

    Args:
        cell: lattice vectors as rows, Å, shape (3, 3); any shape of positive volume.
        least: distance of each pair (species to place, species of an occupant), Å, by atomic number.
    """

    def __init__(self, cell: NDArray[np.float64], least: Mapping[tuple[int, int], float]) -> None:
        reduced, _ = minkowski_reduce(cell)
        lengths = np.linalg.norm(reduced, axis=1)
        self._least = least
        self._counts = np.ceil(lengths / GRID_SPACING).astype(np.int64)
        self._voxel = reduced / self._counts[:, None]
        self._to_grid = cell @ np.linalg.inv(self._voxel)
        # vectors of the lattice among which is the shortest way between two sites of the reduced cell
        self._lattice = np.array(list(product((-1, 0, 1), repeat=3))) * self._counts
        self._occupants: list[tuple[NDArray[np.float64], int]] = []
        # an atom in a lattice with a shorter vector would touch its own image wherever it went
        self._open = {n: bool(lengths.min() > least[n, n]) for n in sorted({placed for placed, _ in least})}
        self._vacant = {n: np.full(self._counts, is_open) for n, is_open in self._open.items()}

    def places(self, number: int) -> NDArray[np.float64]:
        """Return fractional coordinates of the sites vacant for a species, in the cell as passed, in [0, 1), (m, 3)."""
        return self._in_cell(np.argwhere(self._vacant[number]))

    def is_vacant(self, place: NDArray[np.float64], number: int) -> bool:
        """Return whether any site, fractional, shape (3,), on the grid or not, is vacant for a species."""
        return self._open[number] and all(
            self._distance(place, where) > self._least[number, occupant] for where, occupant in self._occupants
        )

    def occupy(self, place: NDArray[np.float64], number: int) -> None:
        """Put an occupant at fractional coordinates ``place``, shape (3,): sites near it are no longer vacant."""
        self._occupants.append((place, number))
        self._close(place, {placed: self._least[placed, number] for placed in self._vacant})

    def close(self, place: NDArray[np.float64], radius: float) -> None:
        """Let no species have a vacant site within ``radius`` (Å) of ``place``, fractional, shape (3,).

        For a site that an atom has left; ``is_vacant`` takes no notice.
        """
        self._close(place, dict.fromkeys(self._vacant, radius))

    def draw(self, number: int, rng: np.random.Generator) -> NDArray[np.float64] | None:
        """Return a random site that is vacant for a species, fractional, shape (3,), or None if there is none."""
        points = np.flatnonzero(self._vacant[number])
        if not len(points):
            return None
        chosen = np.unravel_index(points[rng.integers(len(points))], tuple(self._counts))
        return self._in_cell(np.array(chosen, dtype=np.int64)[None])[0]

    def _close(self, place: NDArray[np.float64], radii: Mapping[int, float]) -> None:
        centre = place @ self._to_grid
        points = np.floor(centre).astype(np.int64) + _stencil(self._voxel, max(radii.values()))
        distances = np.linalg.norm((points - centre) @ self._voxel, axis=1)
        for number, radius in radii.items():
            # points beyond the cell are sites inside it: this is where the periodic images come in
            taken = points[distances <= radius] % self._counts
            self._vacant[number][taken[:, 0], taken[:, 1], taken[:, 2]] = False

    def _distance(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        between = (a - b) @ self._to_grid
        between -= np.round(between / self._counts) * self._counts
        return float(np.linalg.norm((between + self._lattice) @ self._voxel, axis=1).min())

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
