"""Computes a library of pair potentials: energy, exact forces and exact stress."""

from __future__ import annotations

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from aiida_fuse2.core.errors import InputError, RelaxationError
from aiida_fuse2.core.potentials.evaluation import Evaluation

from .library import PairLibrary, PairTerm

MISSING_PAIR = "missing_pair"
"""Reason of the failure of a structure with elements that the library has no term for."""

COINCIDENT_ATOMS = "coincident_atoms"
"""Reason of the failure of a structure with two atoms at one position."""

COINCIDENT = 1e-6
"""Distance below which two atoms have no direction to each other, Å."""

MAX_CUTOFF = 30.0
"""Largest cutoff that is computed by neighbour list, Å: beyond it the lists of small cells fill the memory."""

N_KEYS = len(chemical_symbols) + 1
"""Base of the number of a pair of atomic numbers."""


class PairEvaluator:
    """The sum of the pair terms of a library, without electrostatics; the result of GULP with ``noelectrostatics``.

    Args:
        library: each term acts from its ``rmin`` up to its ``rmax``.

    Raises:
        InputError: if there is more in the library than the engine computes, or nothing.
    """

    name = "pair potential"

    def __init__(self, library: PairLibrary) -> None:
        _check(library)
        self.library = library
        self._cutoff = library.cutoff
        self._terms: dict[int, list[PairTerm]] = {}
        for term in library.terms:
            first, second = (atomic_numbers[element] for element in term.pair)
            key = min(first, second) * N_KEYS + max(first, second)
            self._terms.setdefault(key, []).append(term)

    def evaluate(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Evaluation:
        """Return energy, forces and stress.

        Raises:
            RelaxationError: ``missing_pair`` if two elements have no term, ``coincident_atoms`` if two
                atoms are at one position.
        """
        numbers = np.asarray(numbers)
        self._check_elements(numbers)
        i, j, lengths, vectors = neighbour_list(
            "ijdD", positions=positions, cell=cell, cutoff=self._cutoff, pbc=[True] * 3
        )
        # every pair is in the list twice, once from each end: half of it has all the information,
        # but an atom and its own images form opposite pairs too, so the direction decides between the halves
        once = (i < j) | ((i == j) & _points_up(vectors))
        i, j, lengths, vectors = i[once], j[once], lengths[once], vectors[once]
        if lengths.size and lengths.min() < COINCIDENT:
            raise RelaxationError(COINCIDENT_ATOMS, f"{lengths.min():.1e} Å apart")
        energies, slopes = self._values(numbers[i], numbers[j], lengths)
        pulls = (slopes / lengths)[:, None] * vectors
        forces = np.empty((len(numbers), 3))
        for axis in range(3):
            forces[:, axis] = np.bincount(i, weights=pulls[:, axis], minlength=len(numbers))
            forces[:, axis] -= np.bincount(j, weights=pulls[:, axis], minlength=len(numbers))
        stress = vectors.T @ pulls / abs(np.linalg.det(cell))
        return Evaluation(float(energies.sum()), forces, stress)

    def _values(
        self, first: NDArray[np.int64], second: NDArray[np.int64], lengths: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return energy (eV) and slope (eV/Å) of each pair of atoms."""
        energies, slopes = np.zeros(len(lengths)), np.zeros(len(lengths))
        keys = np.minimum(first, second) * N_KEYS + np.maximum(first, second)
        for key, terms in self._terms.items():
            (chosen,) = np.nonzero(keys == key)
            if not chosen.size:
                continue
            for term in terms:
                distances = lengths[chosen]
                acts = chosen[(distances >= term.rmin) & (distances < term.rmax)]
                values, derivatives = term.form.values(lengths[acts])
                energies[acts] += values
                slopes[acts] += derivatives
        return energies, slopes

    def _check_elements(self, numbers: NDArray[np.int64]) -> None:
        elements = [chemical_symbols[number] for number in sorted({int(number) for number in numbers})]
        lacking = self.library.missing(elements)
        if lacking:
            raise RelaxationError(MISSING_PAIR, f"the library has no potential for {', '.join(lacking)}")


def _points_up(vectors: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return, for each vector, whether it is counted instead of its opposite.

    Vectors from an atom to its image and back are exact opposites: the sign of their first component that is
    not zero distinguishes them.
    """
    x, y, z = vectors.T
    up: NDArray[np.bool_] = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    return up


def _check(library: PairLibrary) -> None:
    """Refuse a library that the engine does not compute.

    Raises:
        InputError: if it has no terms, has charges, or has a too large cutoff.
    """
    if not library.terms:
        raise InputError("potential", "", "holds no potential")
    if library.has_charges:
        charged = ", ".join(f"{name} {charge:+g}" for name, charge in library.charges.items() if charge)
        expected = "the embedded engine has no electrostatics; relax with GULP (fuse2.gulp.optimize)"
        raise InputError("potential", f"charges {charged}", expected)
    if library.cutoff > MAX_CUTOFF:
        raise InputError(
            "potential", f"cutoff {library.cutoff:g} Å", f"the embedded engine accepts at most {MAX_CUTOFF:g}"
        )
