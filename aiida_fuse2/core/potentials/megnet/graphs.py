"""Crystals as graphs for MEGNet, several at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from .archive import GraphRules


@dataclass(frozen=True, eq=False)
class GraphBatch:
    """Graphs side by side, as the seven inputs of the network.

    Attributes:
        numbers: atomic numbers, shape (1, atoms).
        bonds: lengths in the basis of Gaussians, shape (1, bonds, m).
        states: unused, zero, shape (1, graphs, 2).
        first: atom at which each bond begins, shape (1, bonds).
        second: atom at which each bond ends, shape (1, bonds).
        graph_of_atom: shape (1, atoms).
        graph_of_bond: shape (1, bonds).
    """

    numbers: NDArray[np.int32]
    bonds: NDArray[np.float32]
    states: NDArray[np.float32]
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    graph_of_atom: NDArray[np.int32]
    graph_of_bond: NDArray[np.int32]

    @property
    def inputs(self) -> tuple[NDArray[np.float32] | NDArray[np.int32], ...]:
        """The arrays in the order in which MEGNet takes them."""
        atoms_and_bonds = (self.numbers, self.bonds, self.states, self.first, self.second)
        return (*atoms_and_bonds, self.graph_of_atom, self.graph_of_bond)


def has_isolated_atom(atoms: Atoms, rules: GraphRules) -> bool:
    """Return whether an atom has no bond; MEGNet takes means over an atom's bonds."""
    first = neighbour_list("i", atoms, rules.cutoff)
    return len(np.unique(first)) < len(atoms)


def make_batch(structures: Sequence[Atoms], rules: GraphRules) -> GraphBatch:
    """Return the graphs of structures.

    Args:
        structures: periodic, no atom isolated.
        rules: rules of the model for making graphs.
    """
    firsts, seconds, lengths, bond_graphs, atom_graphs = [], [], [], [], []
    offset = 0
    for index, atoms in enumerate(structures):
        i, j, distances = neighbour_list("ijd", atoms, rules.cutoff)
        firsts.append(i + offset)
        seconds.append(j + offset)
        lengths.append(distances)
        bond_graphs.append(np.full(len(i), index))
        atom_graphs.append(np.full(len(atoms), index))
        offset += len(atoms)
    expanded = np.exp(-(((np.concatenate(lengths)[:, None] - rules.centers) / rules.width) ** 2))
    return GraphBatch(
        numbers=np.concatenate([atoms.numbers for atoms in structures])[None].astype(np.int32),
        bonds=expanded[None].astype(np.float32),
        states=np.zeros((1, len(structures), 2), dtype=np.float32),
        first=np.concatenate(firsts)[None].astype(np.int32),
        second=np.concatenate(seconds)[None].astype(np.int32),
        graph_of_atom=np.concatenate(atom_graphs)[None].astype(np.int32),
        graph_of_bond=np.concatenate(bond_graphs)[None].astype(np.int32),
    )
