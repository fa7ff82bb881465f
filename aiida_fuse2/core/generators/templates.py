"""A space group with occupied Wyckoff positions, and the vector of its free parameters: lattice and coordinates.

In P1 every atom is free. If the cell is known, the lattice is this cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.geometry import cellpar_to_cell
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.known import ideal_cell
from aiida_fuse2.core.crystal.wyckoff import Position, draw_positions, lattice_type, primitive_basis
from aiida_fuse2.core.settings import NOTHING, KnownSettings
from aiida_fuse2.core.settings.space_groups import P1

from .lattices import KnownLattice, Lattice, LatticeRange

SPREAD_CANDIDATES = 8
"""Number of random positions, of which each site takes the one furthest from the atoms placed before."""

ORTHORHOMBIC = "orthorhombic"
"""The crystal system whose axes have any order in a cell, unless the space group is known."""


@dataclass(frozen=True, eq=False)
class Site:
    """An element on a Wyckoff position."""

    symbol: str
    position: Position


class Template:
    """The fixed part of a structure during its optimisation, and the map from vectors to structures.

    A vector holds numbers between 0 and 1: the lattice first, then the free coordinates of each site.

    Attributes:
        space_group: number of the space group.
        sites: occupied Wyckoff positions.
        lattice: range of the lattice.
        size: length of a vector.
    """

    def __init__(
        self,
        space_group: int,
        sites: Sequence[Site],
        known: KnownSettings = NOTHING,
        axes: Sequence[int] = (0, 1, 2),
    ) -> None:
        self.space_group = space_group
        self.sites = tuple(sites)
        self.numbers = np.array([atomic_numbers[s.symbol] for s in sites for _ in s.position.rotations])
        self.primitive = primitive_basis(space_group)
        system = lattice_type(space_group)
        ideal = ideal_cell(known, space_group, axes)
        self.lattice: Lattice = (
            LatticeRange.of(system, self.numbers, 1 / abs(np.linalg.det(self.primitive)), known)
            if ideal is None
            else KnownLattice(np.array(cellpar_to_cell(ideal)), known.cell_tolerance)
        )
        self._rotations = np.concatenate([site.position.rotations for site in sites])
        self._translations = np.concatenate([site.position.translations for site in sites])
        self._site_of = np.repeat(np.arange(len(sites)), [len(site.position.rotations) for site in sites])
        self._free = np.array([(i, axis) for i, s in enumerate(sites) for axis in s.position.free], dtype=int).reshape(
            -1, 2
        )
        self.size = self.lattice.size + len(self._free)

    @property
    def wyckoff(self) -> str:
        """Occupied positions for people, e.g. ``Sr 1a, Ti 1b, O 3c``."""
        return ", ".join(f"{site.symbol} {site.position.letter}" for site in self.sites)

    @property
    def periodic(self) -> NDArray[np.bool_]:
        """Which numbers of a vector are coordinates, for which 0 and 1 are the same, shape (size,)."""
        return np.arange(self.size) >= self.lattice.size

    def decode(self, vector: NDArray[np.float64]) -> Atoms:
        """Return the structure of a vector in the primitive cell of the space group.

        Args:
            vector: numbers between 0 and 1, shape (size,).
        """
        conventional = self.lattice.cell(vector[: self.lattice.size])
        xyz = np.zeros((len(self.sites), 3))
        xyz[self._free[:, 0], self._free[:, 1]] = vector[self.lattice.size :]
        fractional = np.einsum("nij,nj->ni", self._rotations, xyz[self._site_of]) + self._translations
        atoms = Atoms(numbers=self.numbers, cell=self.primitive @ conventional, pbc=True)
        atoms.set_positions(fractional @ conventional)
        atoms.wrap()
        return atoms

    def sample(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return a random vector whose atoms keep away from each other, shape (size,).

        Each site takes the one of a few random positions whose atoms are furthest from those placed before and
        from each other, in units of the sums of covalent radii.
        """
        vector = rng.random(self.size)
        conventional = self.lattice.cell(vector[: self.lattice.size])
        cell = self.primitive @ conventional
        to_primitive = np.linalg.inv(self.primitive)
        placed, radii = np.zeros((0, 3)), np.zeros(0)
        start = self.lattice.size
        for site in self.sites:
            radius = float(covalent_radii[atomic_numbers[site.symbol]])
            tries = SPREAD_CANDIDATES if site.position.free else 1
            xyz = np.zeros((tries, 3))
            xyz[:, list(site.position.free)] = rng.random((tries, len(site.position.free)))
            places = (
                np.einsum("nij,kj->kni", site.position.rotations, xyz) + site.position.translations
            ) @ to_primitive
            best = int(np.argmax(_clearances(places, radius, placed, radii, cell)))
            vector[start : start + len(site.position.free)] = xyz[best, list(site.position.free)]
            placed = np.concatenate([placed, places[best]])
            radii = np.append(radii, np.full(len(site.position.rotations), radius))
            start += len(site.position.free)
        return vector


def _clearances(
    places: NDArray[np.float64],
    radius: float,
    placed: NDArray[np.float64],
    radii: NDArray[np.float64],
    cell: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the shortest distance of each candidate in units of the sum of radii, nearest images only.

    Args:
        places: fractional coordinates in the primitive cell, shape (k, n, 3).
        radius: radius of the atoms to place, Å.
        placed: fractional coordinates of the other atoms, shape (m, 3).
        radii: radii of the other atoms, Å, shape (m,).
        cell: lattice vectors, Å, shape (3, 3).
    """
    k, n = places.shape[:2]
    others = np.concatenate([np.broadcast_to(placed, (k, *placed.shape)), places], axis=1)
    steps = places[:, :, None] - others[:, None]
    steps -= np.round(steps)
    distances = np.linalg.norm(steps @ cell, axis=-1) / (radius + np.append(radii, np.full(n, radius)))
    itself = np.arange(n)
    distances[:, itself, len(placed) + itself] = np.inf
    shortest: NDArray[np.float64] = distances.min(axis=(1, 2))
    return shortest


def draw_template(
    elements: tuple[str, ...],
    counts: tuple[int, ...],
    space_group: int,
    rng: np.random.Generator,
    known: KnownSettings = NOTHING,
) -> Template:
    """Draw a Wyckoff assignment.

    Args:
        elements: symbols.
        counts: number of atoms of each in the primitive cell.
        space_group: number of a space group that can hold them.
        rng: random generator.
        known: what is known of the structure.
    """
    if space_group == P1:
        return p1_template(elements, counts, known)
    drawn = draw_positions(space_group, counts, rng)
    sites = [Site(e, p) for e, positions in zip(elements, drawn, strict=True) for p in positions]
    any_order = known.cell is not None and known.space_groups is None and lattice_type(space_group) == ORTHORHOMBIC
    return Template(space_group, sites, known, rng.permutation(3).tolist() if any_order else (0, 1, 2))


def p1_template(elements: tuple[str, ...], counts: tuple[int, ...], known: KnownSettings = NOTHING) -> Template:
    """Return the template without symmetry, in which all atoms are free."""
    anywhere = Position("1a", np.eye(3)[None], np.zeros((1, 3)), (0, 1, 2))
    symbols = [symbol for symbol, number in zip(elements, counts, strict=True) for _ in range(number)]
    return Template(P1, [Site(symbol, anywhere) for symbol in symbols], known)
