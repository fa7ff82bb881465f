"""The symmetry operations of a cell as it is, with the atoms that they exchange: orbits, subgroups, displacements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms
from numpy.typing import NDArray

from .symmetry import MAX_MISFIT, SymmetryError


@dataclass(frozen=True, eq=False)
class Operations:
    """A group of symmetry operations of a cell, translations within the cell included.

    Attributes:
        rotations: rotations in fractional coordinates, shape (m, 3, 3).
        images: index of the atom to which each operation takes each atom, shape (m, n).
    """

    rotations: NDArray[np.int64]
    images: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rotations)

    @property
    def orbits(self) -> list[NDArray[np.int64]]:
        """The atoms that the operations make equivalent, as indices."""
        return [np.unique(self.images[:, atom]) for atom in np.unique(self.images.min(axis=0))]

    def invariant(self, displacements: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the part of displacements of the atoms, fractional, shape (n, 3), that keeps the group."""
        total = np.zeros_like(displacements)
        for rotation, image in zip(self.rotations, self.images, strict=True):
            total[image] += displacements @ rotation.T
        return np.asarray(total / len(self), dtype=np.float64)

    def free_part(self, atom: int) -> NDArray[np.float64]:
        """Return the projection, shape (3, 3), of a displacement of an atom on its free fractional coordinates."""
        kept = self.rotations[self.images[:, atom] == atom]
        projection: NDArray[np.float64] = kept.mean(axis=0)
        return projection

    def subgroup(self, rng: np.random.Generator) -> Operations:
        """Return the subgroup that one or two random operations generate."""
        index = {_key(r, i): k for k, (r, i) in enumerate(zip(self.rotations, self.images, strict=True))}
        generators = rng.integers(len(self), size=rng.integers(1, 3))
        found, new = set[int](), [int(k) for k in generators]
        while new:
            operation = new.pop()
            if operation in found:
                continue
            found.add(operation)
            products = (self._product(operation, int(other)) for other in generators)
            new += [index[key] for key in products if key in index]
        chosen = np.array(sorted(found))
        return Operations(self.rotations[chosen], self.images[chosen])

    def _product(self, first: int, second: int) -> tuple[bytes, bytes]:
        return _key(self.rotations[first] @ self.rotations[second], self.images[first][self.images[second]])


def _key(rotation: NDArray[np.int64], image: NDArray[np.int64]) -> tuple[bytes, bytes]:
    return rotation.tobytes(), image.tobytes()


def operations_of(atoms: Atoms, symprec: float) -> Operations:
    """Return the symmetry operations of a cell, which need not be primitive.

    Args:
        atoms: the structure; not changed.
        symprec: tolerance of spglib, Å.

    Raises:
        SymmetryError: ``no_symmetry`` if spglib fails, ``broken_symmetry`` if an operation takes an atom to no atom.
    """
    places = atoms.get_scaled_positions()
    try:
        found = spglib.get_symmetry((atoms.cell.array, places, atoms.numbers), symprec=symprec)
    except Exception as error:
        raise SymmetryError("no_symmetry", str(error)) from error
    if found is None:
        raise SymmetryError("no_symmetry", "spglib found no operations")
    images = np.empty((len(found["rotations"]), len(atoms)), dtype=np.int64)
    for k, (rotation, translation) in enumerate(zip(found["rotations"], found["translations"], strict=True)):
        away = (places @ rotation.T + translation)[:, None] - places
        away -= np.round(away)
        distances = np.linalg.norm(away @ atoms.cell.array, axis=2)
        distances[atoms.numbers[:, None] != atoms.numbers] = np.inf
        images[k] = distances.argmin(axis=1)
        if distances.min(axis=1).max() > MAX_MISFIT * symprec or len(np.unique(images[k])) < len(atoms):
            raise SymmetryError("broken_symmetry", "an operation of the space group does not map the cell onto itself")
    return Operations(np.asarray(found["rotations"], dtype=np.int64), images)
