"""Forces and stress made exactly symmetric, so that rounding errors do not break the symmetry of a crystal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import spglib
from numpy.typing import NDArray

SYMPREC = 1e-4
"""Tolerance for the symmetry that a relaxation keeps, Å: it finds symmetry by construction, not by chance."""


@dataclass(frozen=True, eq=False)
class SymmetryProjection:
    """The operations of a space group as they act on vectors at the atoms.

    They do not change while atoms and cell move symmetrically.

    Attributes:
        rotations: Cartesian; vectors as rows are multiplied by them; shape (g, 3, 3).
        images: atom that each atom is mapped on, shape (g, n).
    """

    rotations: NDArray[np.float64]
    images: NDArray[np.int64]

    def forces(self, forces: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the symmetric part of forces, shape (n, 3): their mean over the operations."""
        # the force on an atom is that on its image, rotated back
        back = np.einsum("gnj,gkj->nk", forces[self.images], self.rotations)
        mean: NDArray[np.float64] = back / len(self.rotations)
        return mean

    def stress(self, stress: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the symmetric part of a stress, shape (3, 3)."""
        mean: NDArray[np.float64] = np.einsum("gki,ij,glj->kl", self.rotations, stress, self.rotations) / len(
            self.rotations
        )
        return mean


def find_projection(
    numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
) -> SymmetryProjection | None:
    """Return the projection of a crystal; None if it has no symmetry or spglib finds none.

    Args:
        numbers: atomic numbers, shape (n,).
        positions: Cartesian, Å, shape (n, 3).
        cell: lattice vectors as rows, Å, shape (3, 3).
    """
    scaled = np.asarray(np.linalg.solve(cell.T, positions.T).T, dtype=np.float64)
    try:
        found = spglib.get_symmetry((cell, scaled, numbers), symprec=SYMPREC)
    except Exception:  # noqa: BLE001 - spglib raises its own errors for impossible crystals
        return None
    if found is None or len(found["rotations"]) < 2:
        return None
    # a rotation acts on scaled positions as columns: x -> W x + w
    inverse = np.linalg.inv(cell)
    rotations = np.array([inverse @ w.T @ cell for w in found["rotations"]])
    images = [
        _images(numbers, scaled, scaled @ w.T + t, cell)
        for w, t in zip(found["rotations"], found["translations"], strict=True)
    ]
    return SymmetryProjection(rotations, np.array(images))


def _images(
    numbers: NDArray[np.int64],
    scaled: NDArray[np.float64],
    mapped: NDArray[np.float64],
    cell: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return the atom nearest to the position that an operation maps each atom on, shape (n,)."""
    apart = mapped[:, None] - scaled[None]
    apart -= np.round(apart)
    distances = ((apart @ cell) ** 2).sum(axis=-1)
    distances[numbers[:, None] != numbers[None]] = np.inf
    nearest: NDArray[np.int64] = distances.argmin(axis=1)
    return nearest
