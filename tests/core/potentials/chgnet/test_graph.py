"""Bonds and angles."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.chgnet.graph import build_graph

ATOM_CUTOFF, BOND_CUTOFF = 6.0, 3.0


def graph_of(atoms):
    return build_graph(atoms.positions, atoms.cell.array, atom_cutoff=ATOM_CUTOFF, bond_cutoff=BOND_CUTOFF)


def sorted_rows(rows):
    return rows[np.lexsort(rows.T)]


def directed_rows(graph):
    """Centre, neighbour and image of every directed bond."""
    images = np.concatenate([graph.images, -graph.images])
    return np.column_stack([graph.directed_centres, graph.directed_neighbours, images])


def our_bonds_and_angles(graph):
    bonds = directed_rows(graph)
    first = np.concatenate([graph.first, graph.second])
    second = np.concatenate([graph.second, graph.first])
    return sorted_rows(bonds), sorted_rows(np.hstack([bonds[first], bonds[second]]))


def stock_graph(atoms):
    chgnet = pytest.importorskip("chgnet.graph")
    from pymatgen.io.ase import AseAtomsAdaptor

    converter = chgnet.CrystalGraphConverter(atom_graph_cutoff=ATOM_CUTOFF, bond_graph_cutoff=BOND_CUTOFF)
    return converter(AseAtomsAdaptor.get_structure(atoms))


def stock_bonds_and_angles(stock):
    bonds = np.hstack([stock.atom_graph.numpy(), stock.neighbor_image.numpy()]).astype(int)
    angles = stock.bond_graph.numpy().reshape(-1, 5)
    return sorted_rows(bonds), sorted_rows(np.hstack([bonds[angles[:, 2]], bonds[angles[:, 4]]]))


@st.composite
def structures(draw):
    """Any cell, down to some Å³ per atom, and positions in and outside of it."""
    seed = draw(st.integers(0, 2**32 - 1))
    n_atoms = draw(st.integers(1, 6))
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(1.5, 6.0, 3)) + draw(st.sampled_from([0.0, 0.5, 3.0])) * rng.normal(size=(3, 3))
    volume = abs(np.linalg.det(cell))
    cell *= max(1.0, (n_atoms * draw(st.floats(3.0, 40.0)) / volume) ** (1 / 3))
    cell = cell[rng.permutation(3)] * rng.choice([-1, 1], size=(3, 1))
    positions = rng.uniform(-1.5, 2.5, (n_atoms, 3)) @ cell
    return Atoms(f"O{n_atoms}", positions=positions, cell=cell, pbc=True)


@settings(max_examples=40)
@given(structures())
@example(Atoms("Po", cell=[2.01, 2.01, 2.01], pbc=True))
@example(Atoms("OSr", positions=[[0, 0, 0], [9.3, 1.1, 1.2]], cell=[8.0, 9.0, 10.0], pbc=True))
def test_agrees_with_the_converter_of_chgnet(atoms):
    try:
        stock = stock_graph(atoms)
    except ValueError:
        with pytest.raises(RelaxationError, match="isolated_atom"):
            graph_of(atoms)
        return
    graph = graph_of(atoms)
    for ours, theirs in zip(our_bonds_and_angles(graph), stock_bonds_and_angles(stock), strict=True):
        assert np.array_equal(ours, theirs)


@settings(max_examples=60)
@given(structures())
def test_vectors_lengths_and_order(atoms):
    try:
        graph = graph_of(atoms)
    except RelaxationError:
        return
    ends = atoms.positions[graph.neighbours] + graph.images @ atoms.cell.array
    assert np.allclose(graph.vectors, ends - atoms.positions[graph.centres], rtol=0, atol=1e-10)
    assert np.allclose(graph.lengths, np.linalg.norm(graph.vectors, axis=1))
    short = graph.lengths < BOND_CUTOFF
    assert short[: graph.n_short].all()
    assert not short[graph.n_short :].any()
    assert np.array_equal(graph.directed_centres[graph.first], graph.directed_centres[graph.second])
    assert (graph.undirected(graph.first) < graph.n_short).all()
    pairs = {(a, b) for a, b in zip(graph.first.tolist(), graph.second.tolist(), strict=True)}
    assert len(pairs) == graph.n_pairs
    assert all(a != b and (b, a) not in pairs for a, b in pairs)


def test_bond_of_an_atom_with_its_own_image_makes_a_straight_angle():
    graph = graph_of(Atoms("Po", cell=[2.5, 9.0, 9.0], pbc=True))
    assert graph.n_bonds == 2
    assert graph.n_short == graph.n_pairs == 1
    assert {graph.first[0], graph.second[0]} == {0, graph.n_bonds}
    assert abs(graph.images[0, 0]) == 1


def test_no_angles_without_two_short_bonds():
    graph = graph_of(Atoms("N2", positions=[[0, 0, 0], [1.1, 0, 0]], cell=[15.0] * 3, pbc=True))
    assert (graph.n_bonds, graph.n_short, graph.n_pairs) == (1, 1, 0)


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (Atoms("Xe", cell=[8.0] * 3, pbc=True), "isolated_atom"),
        (Atoms("N2Xe", positions=[[0, 0, 0], [1.1, 0, 0], [9, 9, 9]], cell=[18.0] * 3, pbc=True), "isolated_atom"),
        (Atoms("O2", positions=np.zeros((2, 3)), cell=[3.0] * 3, pbc=True), "energy_not_finite"),
        (Atoms("O2", positions=[[0, 0, 0], [3.0, 3.0, 0]], cell=[3.0] * 3, pbc=True), "energy_not_finite"),
        (Atoms("O", cell=[3.0, 3.0, 0.0], pbc=True), "cell_exploded"),
        (Atoms("O", cell=[3.0, 3.0, np.nan], pbc=True), "cell_exploded"),
        (Atoms("O", positions=[[np.inf, 0, 0]], cell=[3.0] * 3, pbc=True), "cell_exploded"),
        (Atoms("O", cell=[0.1] * 3, pbc=True), "too_dense"),
        (Atoms("O", cell=[0.2] * 3, pbc=True), "too_dense"),
    ],
)
def test_geometries_that_cannot_be_handled(atoms, reason):
    with pytest.raises(RelaxationError) as caught:
        graph_of(atoms)
    assert caught.value.reason == reason
