"""Pre-relaxation with repelling spheres: repairs short contacts and a volume that is far off, at little cost.

Two atoms repel each other like overlapping elastic spheres when they are nearer than the sum of their covalent
radii (Cordero et al., Dalton Trans. 2008, 2832, DOI 10.1039/B801115J), or than a least distance where both are
anions. Nothing attracts; a slight pressure closes what is empty. The energy of such packings and the way down
are those of jammed harmonic spheres (O'Hern et al., Phys. Rev. E 2003, 68, 011306,
DOI 10.1103/PhysRevE.68.011306). Forces are exact, so that the symmetry of the start stays.
"""

from __future__ import annotations

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from aiida_fuse2.core.potentials.evaluation import Evaluation

STIFFNESS = 5.0
"""Curvature of the energy of one contact, eV/Å²: with the dozen contacts of an atom that of real bonds."""

ANIONS = frozenset(atomic_numbers[symbol] for symbol in ("N", "O", "F", "Cl", "Br"))
"""Elements that are anions in compounds with others: Pauling electronegativity above 2.9."""

COINCIDENT = 1e-9
"""Distance below which two atoms have no direction to each other, Å."""


def contact_distances(numbers: NDArray[np.int64], anion_distance: float) -> NDArray[np.float64]:
    """Return the distance below which each pair of atoms repels, Å, shape (n, n).

    Args:
        numbers: atomic numbers, shape (n,).
        anion_distance: smallest value for two anions, Å; not used where all atoms are anions, as in O2.
    """
    radii = covalent_radii[numbers]
    distances: NDArray[np.float64] = radii[:, None] + radii[None]
    anion = np.isin(numbers, list(ANIONS))
    if not anion.all():
        both = anion[:, None] & anion[None]
        distances = np.where(both, np.maximum(distances, anion_distance), distances)
    return distances


class SoftSpheres:
    """Harmonic repulsion of overlapping spheres, as an evaluator.

    Args:
        anion_distance: smallest distance at which two anions touch, Å.
    """

    name = "soft spheres"

    def __init__(self, anion_distance: float) -> None:
        self.anion_distance = anion_distance

    def evaluate(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Evaluation:
        """Return energy, forces and stress; atoms at one place do not move each other."""
        contacts = contact_distances(numbers, self.anion_distance)
        i, j, lengths, vectors = neighbour_list(
            "ijdD", positions=positions, cell=cell, cutoff=float(contacts.max()), pbc=[True] * 3
        )
        overlaps = contacts[i, j] - lengths
        touching = (overlaps > 0) & (lengths > COINCIDENT)
        i, lengths, vectors, overlaps = i[touching], lengths[touching], vectors[touching], overlaps[touching]
        # every pair is in the list twice, once from each end
        energy = 0.5 * (0.5 * STIFFNESS * float(overlaps @ overlaps))
        pulls = (STIFFNESS * overlaps / lengths)[:, None] * vectors
        forces = np.zeros((len(numbers), 3))
        for axis in range(3):
            forces[:, axis] = -np.bincount(i, weights=pulls[:, axis], minlength=len(numbers))
        stress = -0.5 * vectors.T @ pulls / abs(np.linalg.det(cell))
        return Evaluation(energy, forces, stress)
