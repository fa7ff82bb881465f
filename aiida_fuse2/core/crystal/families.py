"""Cells made of original sub-modules: their Bravais families, angles and grids, and the motif sites.

Shared by the generator ``fgen`` and moves 9 and 10 (paper section 2.2). A cell of ``(nx, ny, nz)`` boxes of
nominal edges ``[ap, ap, ap/2]`` has edges ``nx ap, ny ap, nz ap/2``; a family with equal edges
therefore restricts the grid.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from ase.geometry import cellpar_to_cell
from numpy.typing import NDArray

RIGHT_ANGLE = 90.0
"""The angles fixed by symmetry of all families but the triclinic, degrees."""

HEXAGONAL_GAMMA = 120.0
"""γ of the hexagonal family, degrees."""

FREE_ANGLE_RANGE = (60.0, 120.0)
"""Range of a free angle, degrees. Outside of it two equal edges have a shorter diagonal, so that the
same lattice has a description with an angle inside (the condition of a reduced cell)."""

MIN_RELATIVE_VOLUME = 0.5**0.5
"""Smallest volume of a triclinic cell over the product of its edges. Three free angles can make a flat
cell (60°, 60°, 120° has no volume); no reduced cell lies below 1/√2, which the face-centred cubic
lattice has (C. F. Gauss 1831, J. Reine Angew. Math. 20, 312, on ternary forms)."""

MAX_ASPECT = 6.0
"""Longest over shortest edge of a new cell; longer ones are rods or plates, slow to relax. The
conventional cell of layered Ca3Ti2O7 has 3.6."""

MOTIF_SITES: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5))
"""In-plane sites of the motifs of a sub-module, as fractions of its edges."""

MID_HEIGHT = 0.5
"""Height of the motif sites, as a fraction of the height of a sub-module."""


class BravaisFamily(StrEnum):
    """The families from which a new cell is drawn."""

    CUBIC = "cubic"
    TETRAGONAL = "tetragonal"
    HEXAGONAL = "hexagonal"
    ORTHORHOMBIC = "orthorhombic"
    MONOCLINIC = "monoclinic"
    TRICLINIC = "triclinic"


def relative_volume(angles: tuple[float, float, float]) -> float:
    """Return the volume of a cell of unit edges with these angles (degrees), 0 if there is none."""
    ca, cb, cg = np.cos(np.radians(angles))
    return float(max(0.0, 1.0 - ca * ca - cb * cb - cg * cg + 2.0 * ca * cb * cg) ** 0.5)


def draw_angles(family: BravaisFamily, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw α, β, γ of a cell of a family, degrees.

    Free angles (β of the monoclinic, all of the triclinic family) are uniform in ``FREE_ANGLE_RANGE``;
    triclinic triples are drawn again where the cell would be flatter than ``MIN_RELATIVE_VOLUME``.
    """
    low, high = FREE_ANGLE_RANGE
    match family:
        case BravaisFamily.HEXAGONAL:
            return RIGHT_ANGLE, RIGHT_ANGLE, HEXAGONAL_GAMMA
        case BravaisFamily.MONOCLINIC:
            return RIGHT_ANGLE, float(rng.uniform(low, high)), RIGHT_ANGLE
        case BravaisFamily.TRICLINIC:
            while True:  # most draws pass
                alpha, beta, gamma = (float(angle) for angle in rng.uniform(low, high, size=3))
                if relative_volume((alpha, beta, gamma)) >= MIN_RELATIVE_VOLUME:
                    return alpha, beta, gamma
        case _:
            return RIGHT_ANGLE, RIGHT_ANGLE, RIGHT_ANGLE


def grid_allowed(family: BravaisFamily, grid: tuple[int, int, int]) -> bool:
    """Return whether boxes ``[ap, ap, ap/2]`` on this grid have the equal edges that a family needs."""
    nx, ny, nz = grid
    match family:
        case BravaisFamily.CUBIC:
            return nx == ny and nz == 2 * nx
        case BravaisFamily.TETRAGONAL | BravaisFamily.HEXAGONAL:
            return nx == ny
        case _:
            return True


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def grids(n_boxes: int, family: BravaisFamily) -> list[tuple[int, int, int]]:
    """Return all grids of exactly ``n_boxes`` boxes that a family allows, in ascending order.

    Empty where there is none: only 2, 16, 54, ... boxes can be cubic.
    """
    every = [(nx, ny, n_boxes // nx // ny) for nx in _divisors(n_boxes) for ny in _divisors(n_boxes // nx)]
    return [grid for grid in every if grid_allowed(family, grid)]


def families_for(n_boxes: int) -> list[BravaisFamily]:
    """Return the families that have a grid of exactly ``n_boxes`` boxes."""
    return [family for family in BravaisFamily if grids(n_boxes, family)]


def aspect(grid: tuple[int, int, int]) -> float:
    """Return the longest over the shortest edge of a cell of nominal boxes on this grid."""
    edges = (grid[0], grid[1], grid[2] / 2)
    return max(edges) / min(edges)


def box_cell(grid: tuple[int, int, int], ap: float, angles: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the cell of a grid of nominal boxes, lattice vectors as rows, Å, shape (3, 3).

    Args:
        grid: number of boxes along each axis.
        ap: module size, Å; the box has the edges ``[ap, ap, ap/2]``.
        angles: α, β, γ, degrees.
    """
    lengths = np.asarray(grid) * np.array([ap, ap, ap / 2])
    return np.array(cellpar_to_cell([*lengths, *angles]), dtype=np.float64)
