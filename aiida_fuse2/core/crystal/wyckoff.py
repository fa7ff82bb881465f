"""Space groups and the occupation of their Wyckoff positions, counted in the primitive cell.

The positions are those of pyxtal (S. Fredericks, K. Parrish, D. Sayre, Q. Zhu, Comput. Phys. Commun. 2021, 261, 107810,
DOI 10.1016/j.cpc.2020.107810); the choice among them follows it too, except that it never fails:
the remaining atoms can always be placed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SPACE_GROUPS = range(2, 231)
"""Space-group numbers with symmetry to impose."""

LARGEST_SHARE = 0.5
"""Probability of a site of the highest multiplicity that fits, as in pyxtal; otherwise all that fit are equal."""

IMAGE_TOLERANCE = 1e-4
"""Fractional coordinates nearer than this are one position."""

_GENERIC = np.array([0.1373, 0.2791, 0.4139])
"""A point that no symmetry operation leaves where it is."""


@dataclass(frozen=True, eq=False)
class Position:
    """A Wyckoff position, reduced to one primitive cell.

    Attributes:
        letter: multiplicity and letter in the conventional cell, e.g. ``4c``.
        rotations: of each atom, shape (n, 3, 3): fractional coordinates in the conventional cell are
            ``rotation @ xyz + translation``.
        translations: shape (n, 3).
        free: axes of xyz that can be chosen.
    """

    letter: str
    rotations: NDArray[np.float64]
    translations: NDArray[np.float64]
    free: tuple[int, ...]

    @property
    def multiplicity(self) -> int:
        """Atoms in the primitive cell."""
        return len(self.rotations)


@cache
def _group(number: int) -> Any:
    """Return pyxtal's table of a space group; reading one costs 6 ms the first time."""
    from pyxtal.symmetry import Group

    return Group(number)


@cache
def lattice_type(number: int) -> str:
    """Return the crystal system of a space group that says which lattices it may have."""
    return str(_group(number).lattice_type)


@cache
def primitive_basis(number: int) -> NDArray[np.float64]:
    """Return the vectors of the primitive cell in units of the conventional one, rows, shape (3, 3)."""
    from ase.spacegroup import Spacegroup

    return np.array(Spacegroup(number).scaled_primitive_cell, dtype=float)


@cache
def positions_of(number: int) -> tuple[Position, ...]:
    """Return the Wyckoff positions of a space group."""
    return tuple(_reduced(wyckoff, primitive_basis(number)) for wyckoff in _group(number))


def _reduced(wyckoff: Any, basis: NDArray[np.float64]) -> Position:
    """Return a position of pyxtal with one atom of each that differ by a lattice vector."""
    rotations = np.array([op.rotation_matrix for op in wyckoff.ops], dtype=float)
    translations = np.array([op.translation_vector for op in wyckoff.ops], dtype=float)
    places = (rotations @ _GENERIC + translations) @ np.linalg.inv(basis)
    kept: list[int] = []
    for i, place in enumerate(places):
        steps = place - places[kept]
        if not (np.abs(steps - np.round(steps)) < IMAGE_TOLERANCE).all(axis=1).any():
            kept.append(i)
    free = tuple(int(axis) for axis in np.flatnonzero(np.abs(rotations).sum(axis=(0, 1))))
    return Position(str(wyckoff.get_label()), rotations[kept], translations[kept], free)


class Multiplicities(NamedTuple):
    """Multiplicities of Wyckoff positions, counted in the primitive cell.

    ``free`` ones have a coordinate to choose and take any number of atoms; each of the ``fixed`` kinds
    (multiplicity, how many positions) can be occupied once per position.
    """

    free: tuple[int, ...]
    fixed: tuple[tuple[int, int], ...]


@cache
def multiplicities(number: int) -> Multiplicities:
    """Return the multiplicities of a space group."""
    # not by ``positions_of``: this is called for all groups, and their operations take long to read
    group = _group(number)
    centring = int(group.cellsize())
    found = [(int(wp.multiplicity) // centring, wp.get_dof() > 0) for wp in group]
    free = {m for m, has_freedom in found if has_freedom}
    fixed = Counter(m for m, has_freedom in found if not has_freedom and m not in free)
    return Multiplicities(tuple(sorted(free)), tuple(sorted(fixed.items())))


@lru_cache(maxsize=65536)
def _fills(free: tuple[int, ...], n_atoms: int) -> bool:
    """Return whether ``n_atoms`` is a sum of these multiplicities."""
    reachable = [True, *([False] * n_atoms)]
    for total in range(1, n_atoms + 1):
        reachable[total] = any(m <= total and reachable[total - m] for m in free)
    return reachable[n_atoms]


@lru_cache(maxsize=65536)
def holds(positions: Multiplicities, counts: tuple[int, ...]) -> bool:
    """Return whether Wyckoff positions can hold these numbers of atoms, element after element.

    The check is exact: elements share the positions that can be occupied only once.
    """
    if not counts:
        return True
    kinds = [m for m, _ in positions.fixed]
    for used in product(*(range(available + 1) for _, available in positions.fixed)):
        rest = counts[0] - sum(u * m for u, m in zip(used, kinds, strict=True))
        if rest < 0 or not _fills(positions.free, rest):
            continue
        left = tuple((m, n - u) for (m, n), u in zip(positions.fixed, used, strict=True))
        if holds(Multiplicities(positions.free, left), counts[1:]):
            return True
    return False


def can_hold(number: int, counts: tuple[int, ...]) -> bool:
    """Return whether the Wyckoff positions of a space group can hold these numbers of atoms in the primitive cell."""
    return holds(multiplicities(number), counts)


@lru_cache(maxsize=1024)
def compatible_groups(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Return the space groups whose Wyckoff positions can hold these atoms; never empty.

    The mirror planes of Pm hold any number of atoms. (pyxtal's own check gives the same answer, but
    takes seconds for elements with many atoms.)

    Args:
        counts: number of atoms of each element in the primitive cell.
    """
    return tuple(number for number in SPACE_GROUPS if can_hold(number, counts))


def draw_positions(number: int, counts: Sequence[int], rng: np.random.Generator) -> list[list[Position]]:
    """Return the positions that each element occupies.

    Element after element and site after site, a position is drawn among those that fit and leave room for the rest.

    Args:
        number: number of a space group that can hold the atoms.
        counts: number of atoms of each element in the primitive cell.
        rng: random generator.
    """
    every = positions_of(number)
    free_multiplicities = multiplicities(number).free
    used: set[int] = set()
    drawn: list[list[Position]] = []
    for i, count in enumerate(counts):
        chosen: list[Position] = []
        left = count
        while left:
            fitting = [
                k
                for k, position in enumerate(every)
                if k not in used
                and position.multiplicity <= left
                and holds(
                    _left(every, used if position.free else used | {k}, free_multiplicities),
                    (left - position.multiplicity, *counts[i + 1 :]),
                )
            ]
            if rng.random() < LARGEST_SHARE:
                largest = max(every[k].multiplicity for k in fitting)
                fitting = [k for k in fitting if every[k].multiplicity == largest]
            k = fitting[rng.integers(len(fitting))]
            chosen.append(every[k])
            left -= every[k].multiplicity
            if not every[k].free:
                used.add(k)
        drawn.append(chosen)
    return drawn


def _left(every: Sequence[Position], used: set[int], free: tuple[int, ...]) -> Multiplicities:
    """Return the multiplicities of the positions that are not used up."""
    fixed = Counter(
        p.multiplicity for k, p in enumerate(every) if not p.free and k not in used and p.multiplicity not in free
    )
    return Multiplicities(free, tuple(sorted(fixed.items())))
