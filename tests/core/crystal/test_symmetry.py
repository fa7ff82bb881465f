from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from aiida_fuse2.core.crystal.symmetry import (
    SymmetryError,
    doubled_cells,
    doubling_matrices,
    find_symmetry,
    primitive_cell,
    rattle,
    slicing_cell,
    symmetrise,
)
from aiida_fuse2.core.crystal.uniqueness import match_structures
from tests.core.crystals import garnet, perovskite, quartz, ruddlesden_popper

SYMPREC = 0.01


@pytest.mark.parametrize(
    ("atoms", "number", "symbol"),
    [
        (perovskite(), 221, "Pm-3m"),
        (garnet(), 230, "Ia-3d"),
        (quartz(), 154, "P3_221"),
        (ruddlesden_popper(), 139, "I4/mmm"),
    ],
)
def test_space_group(atoms, number, symbol):
    found = find_symmetry(atoms, SYMPREC)
    assert (found.number, found.symbol) == (number, symbol)


def test_no_symmetry_has_a_name():
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 0]], cell=[3, 3, 3], pbc=True)
    with pytest.raises(SymmetryError) as caught:
        find_symmetry(atoms, SYMPREC)
    assert caught.value.reason == "no_symmetry"


def test_primitive_and_slicing_cell():
    atoms = garnet()
    assert len(primitive_cell(atoms, SYMPREC)) == 80
    assert len(slicing_cell(primitive_cell(atoms, SYMPREC), SYMPREC, 160)) == 160
    assert len(slicing_cell(atoms, SYMPREC, 159)) == 80


def test_symmetrise_removes_a_small_rattle():
    rng = np.random.default_rng(1)
    disturbed = rattle(perovskite(), 0.01, rng)
    assert find_symmetry(disturbed, 1e-4).number == 1
    assert find_symmetry(symmetrise(disturbed, 0.1), 1e-4).number == 221


def test_rattle_breaks_symmetry_and_leaves_its_input():
    atoms = perovskite()
    before = atoms.positions.copy()
    moved = rattle(atoms, 0.05, np.random.default_rng(2))
    assert np.array_equal(atoms.positions, before)
    assert find_symmetry(moved, 1e-3).number == 1
    shift = moved.positions - before
    assert 0.01 < np.abs(shift).mean() < 0.1
    again = rattle(atoms, 0.05, np.random.default_rng(2))
    assert np.array_equal(moved.positions, again.positions)


def test_there_are_seven_ways_to_double():
    matrices = doubling_matrices()
    assert len({m.tobytes() for m in matrices}) == 7
    assert all(round(np.linalg.det(m)) == 2 for m in matrices)


def test_doubled_cells_are_one_per_star():
    # cubic perovskite: X, M and R; the tetragonal body-centred parent: X, N and Z (P is not a half vector)
    assert len(list(doubled_cells(perovskite(), SYMPREC))) == 3
    parent = primitive_cell(ruddlesden_popper(), SYMPREC)
    assert len(list(doubled_cells(parent, SYMPREC))) == 3
    triclinic = Atoms("Po", cell=[[3.1, 0, 0], [0.4, 3.3, 0], [0.7, 0.9, 3.7]], pbc=True)
    assert len(list(doubled_cells(triclinic, SYMPREC))) == 7


def test_doubled_cell_is_the_same_crystal():
    for doubled in doubled_cells(perovskite(), SYMPREC):
        assert len(doubled) == 10
        assert match_structures(doubled, perovskite(), stol=0.1)
        assert find_symmetry(doubled, 1e-4).number == 221


def test_octahedral_tilts_fit_one_doubled_cell_of_the_parent():
    # Cmc2_1 of Ca3Ti2O7 is the X-point doubling: a primitive cell of √2 a x √2 a in the plane
    parent = primitive_cell(ruddlesden_popper(), SYMPREC)
    edges = [np.sort(cell.cell.lengths())[:2] for cell in doubled_cells(parent, SYMPREC)]
    assert any(np.allclose(pair, 3.85 * np.sqrt(2), atol=0.01) for pair in edges)
