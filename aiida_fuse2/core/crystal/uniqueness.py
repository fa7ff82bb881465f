"""Comparing structures: a cheap fingerprint before pymatgen's StructureMatcher.

The matcher runs with ``scale=False`` and ``stol=0.1``: its defaults merge a perovskite with one of
half the density, and tilts of octahedra with the untilted parent.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

FINGERPRINT_CUTOFF = 5.5
"""Longest distance in a fingerprint, Å."""

FINGERPRINT_WIDTH = 0.25
"""Standard deviation of the Gaussian that smooths a distance, and the spacing of the points, Å."""

FINGERPRINT_START = 1.0
"""First point of the fingerprint, Å; its Gaussian includes shorter distances."""

FINGERPRINT_TOLERANCE = 0.12
"""Largest distance of the fingerprints of structures that may still be equal (see ``fingerprint``)."""

FINGERPRINT_STOL = 0.1
"""``stol`` of the matcher for which that distance was chosen."""

LATTICE_TOLERANCE = 0.05
"""Largest relative difference of lattice vectors that the matcher allows. Its default of 0.2 matches a
perovskite with one 15 % longer in each direction, even with ``scale=False``."""

MAX_CANDIDATES = 2
"""Largest number of structures that a new one is compared with by the matcher."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]

_POINTS = np.arange(FINGERPRINT_START, FINGERPRINT_CUTOFF, FINGERPRINT_WIDTH)


def fingerprint(atoms: Atoms) -> NDArray[np.float64]:
    """Return a vector that is equal for equal crystals, whatever their cell; shape (36,).

    Two radial distributions per atom, smoothed and divided by the distance squared: one over all pairs
    and one in which a pair counts as the product of its atomic numbers, relative to their mean square
    in the structure, so that a swap of elements changes it. Volume per atom is implied by the first.
    """
    return fingerprint_of_pairs(atoms, near_pairs(atoms))


def near_pairs(atoms: Atoms) -> Pairs:
    """Return all pairs of atoms in a fingerprint: indices of the atoms, and distances, Å."""
    first, second, distances = neighbour_list("ijd", atoms, FINGERPRINT_CUTOFF + 3 * FINGERPRINT_WIDTH)
    return first, second, distances


def fingerprint_of_pairs(atoms: Atoms, pairs: Pairs) -> NDArray[np.float64]:
    """Return the fingerprint of a structure whose ``near_pairs`` are known; shape (36,)."""
    first, second, distances = pairs
    weights = 1.0 / distances**2
    blurred = np.exp(-0.5 * ((distances[:, None] - _POINTS) / FINGERPRINT_WIDTH) ** 2)
    numbers = atoms.numbers / np.sqrt(np.mean(atoms.numbers**2))
    heavy = weights * numbers[first] * numbers[second]
    return np.concatenate([weights @ blurred, heavy @ blurred]) / len(atoms)


def encode_fingerprint(vector: NDArray[np.float64]) -> str:
    """Return a fingerprint as text: one value to store and to hash instead of 36 (base64 of float32)."""
    return b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode("ascii")


def decode_fingerprint(text: str) -> NDArray[np.float64]:
    """Return the fingerprint of ``encode_fingerprint``, to single precision."""
    return np.frombuffer(b64decode(text), dtype="<f4").astype(np.float64)


def fingerprint_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the root-mean-square difference of fingerprints relative to their size.

    Args:
        a: one fingerprint, shape (m,), or several, shape (k, m).
        b: one fingerprint, shape (m,).

    Returns:
        Distance of each, shape () or (k,); 0 for equal structures.
    """
    difference = np.linalg.norm(np.asarray(a) - b, axis=-1)
    size = np.maximum(np.linalg.norm(a, axis=-1), np.linalg.norm(b))
    distance: NDArray[np.float64] = difference / np.maximum(size, 1e-12)
    return distance


@lru_cache(maxsize=8)
def _matcher(stol: float, *, scale: bool) -> StructureMatcher:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(
        ltol=LATTICE_TOLERANCE, stol=stol, scale=scale, primitive_cell=True, attempt_supercell=False
    )


def are_equal(a: Atoms, b: Atoms, *, stol: float) -> bool:
    """Return whether two structures are the same crystal, absolute size included.

    Args:
        a: one structure.
        b: the other one; any cell of it.
        stol: largest root-mean-square displacement as a fraction of (volume per atom)^(1/3).
    """
    if fingerprint_distance(fingerprint(a), fingerprint(b)) > FINGERPRINT_TOLERANCE:
        return False
    return match_structures(a, b, stol=stol)


def match_structures(a: Atoms, b: Atoms, *, stol: float) -> bool:
    """As ``are_equal``, without comparing the fingerprints first."""
    return match_reduced(reduce_structure(a), reduce_structure(b), stol=stol)


def reduce_structure(atoms: Atoms) -> Structure:
    """Return the Niggli-reduced primitive cell for ``match_reduced``; this is half of the work of a comparison."""
    from pymatgen.io.ase import AseAtomsAdaptor

    structure = AseAtomsAdaptor.get_structure(atoms)
    return structure.get_reduced_structure(reduction_algo="niggli").get_primitive_structure()


def match_reduced(a: Structure, b: Structure, *, stol: float) -> bool:
    """Return whether two structures of ``reduce_structure`` are the same crystal."""
    return bool(_matcher(stol, scale=False).fit(a, b, skip_structure_reduction=True))


def displacement(a: Atoms, b: Atoms, *, stol: float) -> float | None:
    """Return the root-mean-square displacement (Å) between the atoms of equal structures, or None for others.

    The volume per atom by which pymatgen's matcher divides is the mean of both structures'.

    Args:
        a: one structure.
        b: the other one; any cell of it.
        stol: as for ``are_equal``.
    """
    if fingerprint_distance(fingerprint(a), fingerprint(b)) > FINGERPRINT_TOLERANCE:
        return None
    return displacement_reduced(reduce_structure(a), reduce_structure(b), stol=stol)


def displacement_reduced(a: Structure, b: Structure, *, stol: float) -> float | None:
    """As ``displacement``, for structures of ``reduce_structure`` and without comparing fingerprints first."""
    found = _matcher(stol, scale=False).get_rms_dist(a, b)
    if found is None:
        return None
    length = (0.5 * (a.volume / len(a) + b.volume / len(b))) ** (1 / 3)
    return float(found[0] * length)


@dataclass(order=True, frozen=True)
class IndexedStructure:
    """The values of each structure in the index of unique structures: energy (eV/atom), label, fingerprint (36,)."""

    energy: float
    label: str
    fingerprint: NDArray[np.float64] = field(compare=False)


class UniqueIndex:
    """The unique structures of a search, ordered by energy, to find the structures that a new one may equal."""

    def __init__(self) -> None:
        self._entries: list[IndexedStructure] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, label: str, energy: float, vector: NDArray[np.float64]) -> None:
        """Add a structure that is equal to none before it."""
        insort(self._entries, IndexedStructure(energy, label, np.asarray(vector, dtype=float)))

    def near(self, energy: float, vector: NDArray[np.float64], window: float) -> list[str]:
        """Return the labels of structures that may be equal, nearest fingerprint first.

        Args:
            energy: energy of the new structure, eV/atom.
            vector: its fingerprint, shape (36,).
            window: largest difference of energies, eV/atom.
        """
        start = bisect_left(self._entries, energy - window, key=lambda e: e.energy)
        stop = bisect_right(self._entries, energy + window, key=lambda e: e.energy)
        close = self._entries[start:stop]
        if not close:
            return []
        distances = fingerprint_distance(np.array([e.fingerprint for e in close]), vector)
        order = np.argsort(distances, kind="stable")
        return [close[i].label for i in order if distances[i] <= FINGERPRINT_TOLERANCE][:MAX_CANDIDATES]
