import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk

from aiida_fuse2.core.crystal.operations import operations_of
from aiida_fuse2.core.crystal.symmetry import SymmetryError
from tests.core.crystals import perovskite, quartz
from tests.core.structure_types import structure_types

SYMPREC = 1e-3


def _displaced(atoms, pattern, size=0.1):
    moved = atoms.copy()
    moved.positions += size * pattern @ atoms.cell.array / np.abs(pattern @ atoms.cell.array).max()
    return moved


@pytest.mark.parametrize(
    ("atoms", "count", "orbits"),
    [
        (perovskite(), 48, [1, 1, 3]),
        (quartz(), 6, [3, 6]),
        (bulk("NaCl", "rocksalt", a=5.64, cubic=True), 192, [4, 4]),  # 48 rotations, 4 translations within the cell
        (perovskite().repeat((2, 1, 1)), 32, [2, 2, 4, 2]),  # the cell has the rotations of a tetragonal one
    ],
)
def test_operations_and_orbits_of_known_crystals(atoms, count, orbits):
    operations = operations_of(atoms, SYMPREC)
    assert len(operations) == count
    assert sorted(map(len, operations.orbits)) == sorted(orbits)
    for orbit in operations.orbits:
        assert len(set(atoms.numbers[orbit])) == 1
    assert sorted(np.concatenate(operations.orbits)) == list(range(len(atoms)))


@pytest.mark.parametrize("name", ["SrTiO3", "FeS2, pyrite", "MoS2", "ZrSiO4", "CaCO3, calcite", "Cu2O"])
def test_subgroups_are_closed_and_their_displacements_have_their_symmetry(name):
    atoms = structure_types()[name]
    whole = operations_of(atoms, SYMPREC)
    rng = np.random.default_rng(4)
    sizes = set()
    for _ in range(12):
        group = whole.subgroup(rng)
        sizes.add(len(group))
        assert len(whole) % len(group) == 0  # Lagrange
        products = {(r @ s).tobytes() for r in group.rotations for s in group.rotations}
        assert products == {r.tobytes() for r in group.rotations}
        pattern = group.invariant(rng.standard_normal((len(atoms), 3)))
        assert np.allclose(group.invariant(pattern), pattern)
        if np.abs(pattern).max() > 1e-9:
            assert len(operations_of(_displaced(atoms, pattern), SYMPREC)) % len(group) == 0
    assert len(sizes) > 2


def test_free_coordinates_are_those_of_the_wyckoff_letter():
    atoms = structure_types()["TiO2, rutile"]  # Ti on 2a, O on 4f (x, x, 0)
    operations = operations_of(atoms, SYMPREC)
    oxygen = int(np.flatnonzero(atoms.numbers == 8)[0])
    titanium = int(np.flatnonzero(atoms.numbers == 22)[0])
    assert np.allclose(operations.free_part(titanium), 0)
    free = operations.free_part(oxygen)
    assert np.linalg.matrix_rank(free) == 1
    assert np.allclose(free @ free, free)
    assert np.allclose(np.abs(free @ [1, 0, 0]), [0.5, 0.5, 0])


@pytest.mark.parametrize("handling", [True, False])
def test_coinciding_atoms_have_no_symmetry(monkeypatch, handling):
    """Whether spglib returns nothing, or raises an error since another package has told it to."""
    monkeypatch.setattr(spglib.error, "OLD_ERROR_HANDLING", handling)
    with pytest.raises(SymmetryError):
        operations_of(Atoms("O2", scaled_positions=[[0, 0, 0]] * 2, cell=[3.0] * 3, pbc=True), SYMPREC)
