"""Bonds and coordination polyhedra of a crystal, as figures of papers show them.

Cations and anions follow from the composition. The neighbours of a cation are the anions that count in Hoppe's
effective coordination number (R. Hoppe, Z. Kristallogr. 150, 23 (1979)). Only the cations that hold their anions
strongly are drawn with bonds, by Pauling's rule (charge over coordination number): octahedra of TiO6, but no bonds to
the twelve neighbours of Sr in SrTiO3. Atoms without charges have covalent bonds, none between metals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray

SEARCHED = 1.4
"""Radius within which neighbours of a cation are sought, as a multiple of the sum of the covalent radii."""

COUNTS_FROM = 0.15
"""Least weight of a neighbour in Hoppe's coordination number that is bonded."""

COVALENT = 1.15
"""Longest covalent bond, as a multiple of the sum of the covalent radii."""

MAX_COORDINATION = 6
"""Largest coordination number of a cation that is drawn with bonds beside a cation that bonds more strongly."""

MIN_STRENGTH = 0.3
"""Least charge over coordination number of a cation that is drawn with bonds beside one that bonds more strongly."""

MAX_GUESSED = 100
"""Atoms in the largest formula for which oxidation states are sought."""

HULL_CORNERS = range(4, 13)
"""Coordination numbers that are drawn as polyhedra."""

FLAT = 0.01
"""Volume of a hull over its area to the power 3/2 below which its corners are nearly in one plane; a cube has 0.07."""

SAME_PLANE = 0.02
"""Largest difference between the normals of two triangles of one face."""

Bond = tuple[int, int, tuple[int, int, int]]
"""Two atoms of the cell, and the lattice translation of the second."""


@dataclass(frozen=True, kw_only=True)
class Polyhedron:
    """The hull of the neighbours of a cation.

    Attributes:
        centre: index of the cation.
        corners: index and lattice translation of each neighbour.
        faces: triangles of the hull, as indices into ``corners``, in the sense of rotation as seen from outside.
        edges: pairs of corners between two faces that are not in one plane.
    """

    centre: int
    corners: Sequence[tuple[int, tuple[int, int, int]]]
    faces: Sequence[tuple[int, int, int]]
    edges: Sequence[tuple[int, int]]


@cache
def charges(formula: str) -> Mapping[str, float]:
    """Return the oxidation state of each element of a reduced formula, 0 in elements and alloys.

    Metals count as cations of charge 1, others as anions of charge -1, if no oxidation states make the formula neutral.
    """
    from pymatgen.core import Composition

    composition = Composition(formula)
    if composition.num_atoms <= MAX_GUESSED and (guesses := composition.oxi_state_guesses()):
        return {str(symbol): float(charge) for symbol, charge in guesses[0].items()}
    is_metal = {element.symbol: element.is_metal for element in composition.elements}
    if len(set(is_metal.values())) == 1:
        return dict.fromkeys(is_metal, 0.0)
    return {symbol: 1.0 if metal else -1.0 for symbol, metal in is_metal.items()}


def bonds_and_polyhedra(atoms: Atoms) -> tuple[list[Bond], list[Polyhedron]]:
    """Return the bonds and the polyhedra of a crystal that are drawn.

    Args:
        atoms: the cell; atoms may be outside of it.
    """
    state = charges(str(atoms.symbols.formula.reduce()[0]))
    shells = {
        i: shell for i, symbol in enumerate(atoms.symbols) if state[symbol] > 0 and (shell := _shell(atoms, i, state))
    }
    drawn = _drawn_cations(atoms, shells, state)
    shells = {i: shell for i, shell in shells.items() if atoms.symbols[i] in drawn}
    bonds = [(i, j, shift) for i, shell in shells.items() for j, shift in shell]
    polyhedra = [hull for i, shell in shells.items() if (hull := _polyhedron(atoms, i, shell)) is not None]
    return bonds + _covalent_bonds(atoms, state), polyhedra


def _shell(atoms: Atoms, centre: int, state: Mapping[str, float]) -> list[tuple[int, tuple[int, int, int]]]:
    """Return the anions around a cation that count in Hoppe's coordination number."""
    anions = [j for j, symbol in enumerate(atoms.symbols) if state[symbol] < 0]
    reach = SEARCHED * (covalent_radii[atoms.numbers[centre]] + covalent_radii[atoms.numbers[anions]].max())
    others, vectors, shifts = _around(atoms, centre, reach)
    ratio = 1 / (covalent_radii[atoms.numbers[centre]] + covalent_radii[atoms.numbers[others]])
    lengths = np.linalg.norm(vectors, axis=1) * ratio  # anions of different sizes are compared by these
    near = np.isin(others, anions) & (lengths < SEARCHED)
    if not near.any():
        return []
    counted = effective_weights(lengths[near]) >= COUNTS_FROM
    return [
        (int(j), (int(s[0]), int(s[1]), int(s[2])))
        for j, s in zip(others[near][counted], shifts[near][counted], strict=True)
    ]


def effective_weights(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weight of each bond of a cation in its effective coordination number.

    Args:
        lengths: lengths of the bonds, shape (n,), n > 0.
    """
    mean, previous = float(lengths.min()), 0.0
    while abs(mean - previous) > 1e-4 * mean:
        weights = np.exp(1 - (lengths / mean) ** 6)
        previous, mean = mean, float((weights * lengths).sum() / weights.sum())
    return np.exp(1 - (lengths / mean) ** 6)


def _around(
    atoms: Atoms, centre: int, reach: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the atoms within a distance of one: indices (n,), vectors to them (Å) and translations, shapes (n, 3)."""
    cell = atoms.cell.array
    away = atoms.positions - atoms.positions[centre]
    spacing = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)  # of lattice planes
    spread = np.abs(atoms.cell.scaled_positions(away)).max(axis=0)
    counts = np.ceil(reach / spacing + spread).astype(int)
    shifts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = away[None] + (shifts @ cell)[:, None]
    lengths = np.linalg.norm(vectors, axis=2)
    where, others = np.nonzero((lengths < reach) & (lengths > 1e-3))
    return others, vectors[where, others], shifts[where]


def _drawn_cations(atoms: Atoms, shells: Mapping[int, Sequence[object]], state: Mapping[str, float]) -> set[str]:
    """Return the cations that hold their anions strongly, by the mean coordination number of each."""
    numbers: dict[str, list[int]] = {}
    for index, shell in shells.items():
        numbers.setdefault(str(atoms.symbols[index]), []).append(len(shell))
    means = {symbol: float(np.mean(counts)) for symbol, counts in numbers.items()}
    strength = {symbol: state[symbol] / mean for symbol, mean in means.items()}
    strongest = max(strength.values(), default=0.0)
    return {
        symbol
        for symbol, value in strength.items()
        if value == strongest or (value >= MIN_STRENGTH and means[symbol] <= MAX_COORDINATION)
    }


def _polyhedron(atoms: Atoms, centre: int, shell: Sequence[tuple[int, tuple[int, int, int]]]) -> Polyhedron | None:
    """Return the hull of the neighbours of a cation, or None if they are too few, too many or in one plane."""
    from scipy.spatial import ConvexHull, QhullError

    if len(shell) not in HULL_CORNERS:
        return None
    points = np.array([atoms.positions[j] + np.array(shift) @ atoms.cell.array for j, shift in shell])
    try:
        hull = ConvexHull(points)
    except QhullError:
        return None
    if hull.volume < FLAT * hull.area**1.5:
        return None
    faces, normals = hull.simplices.copy(), hull.equations[:, :3]
    a, b, c = (points[faces[:, k]] for k in range(3))
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), normals) < 0
    faces[inward] = faces[inward][:, ::-1]
    sides: dict[tuple[int, int], list[int]] = {}
    for number, face in enumerate(faces.tolist()):
        for first, second in zip(face, [*face[1:], face[0]], strict=True):
            sides.setdefault((min(first, second), max(first, second)), []).append(number)
    edges = [pair for pair, (one, two) in sides.items() if np.abs(normals[one] - normals[two]).max() > SAME_PLANE]
    return Polyhedron(centre=centre, corners=list(shell), faces=[tuple(face) for face in faces.tolist()], edges=edges)


def _covalent_bonds(atoms: Atoms, state: Mapping[str, float]) -> list[Bond]:
    """Return the bonds between atoms that are no metals and no cations: pairs of anions, and elements."""
    from pymatgen.core import Element

    able = [i for i, symbol in enumerate(atoms.symbols) if state[symbol] <= 0 and not Element(symbol).is_metal]
    bonds = []
    for i in able:
        radii = covalent_radii[atoms.numbers[i]] + covalent_radii[atoms.numbers]
        others, vectors, shifts = _around(atoms, i, COVALENT * float(radii[able].max()))
        lengths = np.linalg.norm(vectors, axis=1)
        for j, length, shift in zip(others.tolist(), lengths, shifts.tolist(), strict=True):
            if j in able and length < COVALENT * radii[j]:
                bonds.append((i, j, tuple(shift)))
    return bonds
