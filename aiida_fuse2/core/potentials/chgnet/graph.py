"""Bonds and angles of a periodic structure, as CHGNet defines them.

B. Deng et al., Nat. Mach. Intell. 2023, 5, 1031, DOI 10.1038/s42256-023-00716-3. A bond joins an atom with an
image of an atom within the atom cutoff; an angle is an ordered pair of two different bonds, both shorter than
the bond cutoff, that leave the same centre. The neighbour search is that of matscipy (DOI 10.21105/joss.05668).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from aiida_fuse2.core.errors import RelaxationError

_Number = TypeVar("_Number", np.int64, np.float64)

MAX_BYTES = 1e9
"""Largest memory that the features of a structure may take, bytes, unless the same number of atoms of diamond would
take more: a process that relaxes is given 1.5 GB."""

BYTES_PER_BOND, BYTES_PER_PAIR = 20e3, 26e3
"""Memory that PyTorch takes for each bond and unordered pair of bonds, bytes, as measured."""

BYTES_PER_ATOM = 85 * BYTES_PER_BOND + 400 * BYTES_PER_PAIR
"""Memory that it takes for an atom of diamond, which has the most neighbours in a crystal at ambient pressure."""

MIN_LENGTH = 1e-6
"""Shortest length that a bond can have, Å; atoms nearer than this have no direction to each other."""


@dataclass(frozen=True, eq=False)
class ChgnetGraph:
    """Bonds and angles of one structure.

    There are n bonds, of which the first ``n_short`` are shorter than the bond cutoff. Each is listed once and
    stands for two directed ones: directed bond b < n leaves ``centres[b]`` for an image of ``neighbours[b]``
    along ``vectors[b]``, and n + b is its reverse, which leaves ``neighbours[b]`` along minus ``vectors[b]``.
    Bonds of an atom with its own image are included: both its directed bonds leave the same atom.

    There are m unordered pairs of directed short bonds; (``first[a]``, ``second[a]``) and its exchange are the
    two angles of pair a.

    Attributes:
        n_atoms: number of atoms.
        n_short: number of bonds that make angles.
        centres: atom that a bond leaves, shape (n,).
        neighbours: atom that it leads to, shape (n,).
        images: lattice vectors to add to the position of the neighbour, shape (n, 3).
        vectors: neighbour minus centre, Å, shape (n, 3).
        lengths: Å, shape (n,).
        first: directed bond of each pair of bonds, shape (m,), ascending within each centre.
        second: other directed bond, shape (m,).
    """

    n_atoms: int
    n_short: int
    centres: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    images: NDArray[np.int64]
    vectors: NDArray[np.float64]
    lengths: NDArray[np.float64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    @property
    def n_bonds(self) -> int:
        """Number of bonds n."""
        return len(self.centres)

    @property
    def n_pairs(self) -> int:
        """Number of unordered pairs of short bonds m; the number of angles is twice this."""
        return len(self.first)

    @property
    def n_bytes(self) -> float:
        """Memory that PyTorch takes for the graph, bytes."""
        return BYTES_PER_BOND * self.n_bonds + BYTES_PER_PAIR * self.n_pairs

    @property
    def directed_centres(self) -> NDArray[np.int64]:
        """Atom that each directed bond leaves, shape (2n,)."""
        return np.concatenate([self.centres, self.neighbours])

    @property
    def directed_neighbours(self) -> NDArray[np.int64]:
        """Atom that each directed bond leads to, shape (2n,)."""
        return np.concatenate([self.neighbours, self.centres])

    def undirected(self, directed: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bonds of directed bonds."""
        return np.where(directed < self.n_bonds, directed, directed - self.n_bonds)


def side_by_side(graphs: Sequence[ChgnetGraph]) -> ChgnetGraph:
    """Return structures as one graph without bonds between them, with the atoms of each after those of the one before.

    The bonds of an atom, and the pairs of bonds at it, keep their order.

    Args:
        graphs: at least one.
    """
    n_bonds = sum(graph.n_bonds for graph in graphs)
    atoms = np.cumsum([0, *(graph.n_atoms for graph in graphs)])
    shorts = np.cumsum([0, *(graph.n_short for graph in graphs)])

    def short_first(arrays: Iterable[NDArray[_Number]]) -> NDArray[_Number]:
        both = zip(arrays, graphs, strict=True)
        parts: list[list[NDArray[_Number]]] = [np.split(array, [graph.n_short]) for array, graph in both]
        return np.concatenate([*(short for short, _ in parts), *(long for _, long in parts)])

    def renumbered(arrays: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
        shifts = zip(arrays, graphs, shorts, strict=False)
        return np.concatenate([b + start + (b >= g.n_bonds) * (n_bonds - g.n_bonds) for b, g, start in shifts])

    return ChgnetGraph(
        n_atoms=int(atoms[-1]),
        n_short=int(shorts[-1]),
        centres=short_first(graph.centres + start for graph, start in zip(graphs, atoms, strict=False)),
        neighbours=short_first(graph.neighbours + start for graph, start in zip(graphs, atoms, strict=False)),
        images=short_first(graph.images for graph in graphs),
        vectors=short_first(graph.vectors for graph in graphs),
        lengths=short_first(graph.lengths for graph in graphs),
        first=renumbered(graph.first for graph in graphs),
        second=renumbered(graph.second for graph in graphs),
    )


def build_graph(
    positions: NDArray[np.float64], cell: NDArray[np.float64], *, atom_cutoff: float, bond_cutoff: float
) -> ChgnetGraph:
    """Return bonds and angles of a structure that is periodic in all directions.

    Args:
        positions: Cartesian, Å, shape (n_atoms, 3); need not lie in the cell.
        cell: lattice vectors as rows, Å, shape (3, 3); of any shape and orientation.
        atom_cutoff: bonds are shorter than this, Å.
        bond_cutoff: bonds that make angles are shorter than this, Å; not above ``atom_cutoff``.

    Raises:
        RelaxationError: ``cell_exploded`` if cell or positions are not finite or the cell is flat, ``too_dense``
            if the features would take too much memory, ``isolated_atom`` if an atom has no bond,
            ``energy_not_finite`` if two atoms coincide.
    """
    n_atoms = len(positions)
    wrapped, shifts = _wrap(positions, cell, atom_cutoff)
    i, j, images = neighbour_list("ijS", positions=wrapped, cell=cell, cutoff=atom_cutoff, pbc=[True] * 3)
    # one bond of each pair of opposite ones: taking its reverse from the list could miss it at the very cutoff
    half = np.flatnonzero((i < j) | ((i == j) & _is_positive(images)))
    i, j, images = i[half].astype(np.int64), j[half].astype(np.int64), images[half].astype(np.int64)
    vectors = wrapped[j] - wrapped[i] + images @ cell
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    _check_bonds(n_atoms, i, j, lengths, atom_cutoff)
    short = lengths < bond_cutoff
    order = np.concatenate([np.flatnonzero(short), np.flatnonzero(~short)])
    i, j = i[order], j[order]
    n_short = int(np.count_nonzero(short))
    first, second = _bond_pairs(n_atoms, i, j, n_short)
    return ChgnetGraph(
        n_atoms=n_atoms,
        n_short=n_short,
        centres=i,
        neighbours=j,
        images=images[order] - shifts[j] + shifts[i],
        vectors=vectors[order],
        lengths=lengths[order],
        first=first,
        second=second,
    )


def _wrap(
    positions: NDArray[np.float64], cell: NDArray[np.float64], cutoff: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return positions in the cell and the lattice vectors taken from them, and check that both can be used."""
    finite = bool(np.isfinite(positions).all() and np.isfinite(cell).all())
    volume = abs(float(np.linalg.det(cell))) if finite else 0.0
    if not volume > 0:
        raise RelaxationError("cell_exploded", "the cell is flat, or cell or positions are not finite")
    expected = len(positions) ** 2 * (4 / 3) * np.pi * cutoff**3 / (2 * volume)
    _check_memory(len(positions), expected, 0)
    fractional = np.linalg.solve(cell.T, positions.T).T
    shifts = np.floor(fractional)
    return positions - shifts @ cell, shifts.astype(np.int64)


def _check_memory(n_atoms: int, n_bonds: float, n_pairs: int) -> None:
    if BYTES_PER_BOND * n_bonds + BYTES_PER_PAIR * n_pairs > max(MAX_BYTES, BYTES_PER_ATOM * n_atoms):
        text = f"{n_bonds:.0f} bonds and {n_pairs} pairs of them take more memory than a process is given"
        raise RelaxationError("too_dense", text)


def _is_positive(images: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return whether the first component that is not zero is positive; true for one of an image and its opposite."""
    x, y, z = images.T
    positive: NDArray[np.bool_] = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    return positive


def _check_bonds(
    n_atoms: int, i: NDArray[np.int64], j: NDArray[np.int64], lengths: NDArray[np.float64], cutoff: float
) -> None:
    """Check that every atom has a bond and that no bond has zero length."""
    bonds = np.bincount(i, minlength=n_atoms) + np.bincount(j, minlength=n_atoms)
    isolated = np.flatnonzero(bonds == 0)
    if isolated.size:
        raise RelaxationError("isolated_atom", f"atom {isolated[0]} has no neighbour within {cutoff:g} Å")
    shortest = int(np.argmin(lengths))
    if lengths[shortest] < MIN_LENGTH:
        raise RelaxationError("energy_not_finite", f"atoms {i[shortest]} and {j[shortest]} coincide")


def _bond_pairs(
    n_atoms: int, i: NDArray[np.int64], j: NDArray[np.int64], n_short: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the unordered pairs of different directed bonds among the first ``n_short`` that leave one atom."""
    bonds = np.arange(n_short)
    directed = np.concatenate([bonds, len(i) + bonds])
    centres = np.concatenate([i[:n_short], j[:n_short]])
    order = np.argsort(centres, kind="stable")
    directed, centres = directed[order], centres[order]
    ends = np.searchsorted(centres, centres, side="right")
    later = ends - np.arange(len(directed)) - 1  # bonds of the same centre that follow this one
    n_pairs = int(later.sum())
    _check_memory(n_atoms, len(i), n_pairs)
    first = np.repeat(np.arange(len(directed)), later)
    start = np.cumsum(later) - later
    second = first + 1 + np.arange(n_pairs) - np.repeat(start, later)
    return directed[first], directed[second]
