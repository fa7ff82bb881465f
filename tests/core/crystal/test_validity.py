from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.formula import Formula
from ase.io import read

from aiida_fuse2.core.chemistry.composition import formula_unit
from aiida_fuse2.core.chemistry.radii import resolve_radii
from aiida_fuse2.core.crystal.validity import Rejection, check_validity, is_one_crystal, isolated_atoms
from tests.core.crystals import real_crystals

PUBLISHED = sorted((Path(__file__).resolve().parents[3].parent / "shared" / "data" / "published").glob("*/*.cif"))


@pytest.fixture
def check(search_settings):
    def run(atoms, max_atoms=1000, unit=None, **changes):
        unit = unit or formula_unit(Formula(atoms.get_chemical_formula()).count())
        validity = search_settings(unit.formula, max_atoms=max(50, unit.n_atoms), validity=changes).validity
        return check_validity(atoms, unit=unit, radii=resolve_radii(unit), max_atoms=max_atoms, settings=validity)

    return run


@pytest.mark.parametrize("name", list(real_crystals()))
def test_real_crystals_pass(check, name):
    assert check(real_crystals()[name]) is None


@pytest.mark.skipif(not PUBLISHED, reason="the published structures are not here")
def test_published_structures_pass(check):
    assert len(PUBLISHED) == 46
    assert {str(path): reason for path in PUBLISHED if (reason := check(read(path))) is not None} == {}


@pytest.mark.parametrize(
    ("scale", "reason"),
    [(0.5, Rejection.DENSITY_HIGH), (0.62, Rejection.CONTACT), (2.3, Rejection.DENSITY_LOW)],
)
def test_scaled_rocksalt_is_rejected(check, scale, reason):
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.set_cell(atoms.cell * scale, scale_atoms=True)
    changes = {"packing_max": 5.0} if reason is Rejection.CONTACT else {}
    changes |= {"contact_factor": 0.65} if reason is Rejection.CONTACT else {}
    assert check(atoms, **changes) is reason


def test_wrong_composition_and_size(check):
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    assert check(atoms, unit=formula_unit({"Na": 2, "Cl": 1})) is Rejection.COMPOSITION
    assert check(make_supercell(atoms, np.diag([2, 2, 2])), max_atoms=15) is Rejection.SIZE


@pytest.mark.parametrize("cell", [np.diag([4.0, 4.0, 0.1]), np.full((3, 3), 3.0), np.diag([4.0, 4.0, np.nan])])
def test_bad_cells(check, cell):
    assert check(Atoms("Na", cell=cell, pbc=True)) is Rejection.CELL


def test_own_minimum_distance(check):
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    assert check(atoms, min_distances={"Na-Cl": 2.9}) is Rejection.CONTACT
    assert check(atoms, min_distances={"Cl-Na": 2.7}) is None


def test_self_image_counts_as_contact(check):
    # one atom, 1.2 Å from its own image along c
    atoms = Atoms("Cu", cell=[4.0, 4.0, 1.2], pbc=True)
    assert check(atoms, packing_max=5.0) is Rejection.CONTACT


def test_isolated_atom(check):
    atoms = Atoms("Na8", positions=[[2 * i, 2 * j, 2 * k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    atoms += Atoms("Na", positions=[[1.0, 1.0, 10.0]])
    atoms.set_cell([4.0, 4.0, 17.0])
    atoms.pbc = True
    atoms.positions[-1] = [1, 1, 9.5]
    assert isolated_atoms(atoms, 3.5) == [8]
    assert check(atoms, isolated_distance=3.5, contact_factor=0.3) is Rejection.ISOLATED


@pytest.mark.parametrize(
    ("cell", "is_one"),
    [
        ([6.2, 6.2, 2.5], False),  # chains
        ([2.5, 2.5, 6.2], False),  # layers
        ([5.8, 5.8, 2.5], True),
        ([2.5, 2.5, 5.8], True),
        ([2.5, 2.5, 2.5], True),
        ([6.2, 6.2, 6.2], False),
    ],
)
def test_parts_that_are_apart(cell, is_one):
    assert is_one_crystal(Atoms("Cu", cell=cell, pbc=True), 6.0) is is_one
    two = Atoms("CuAu", positions=[[0, 0, 0], [0, 0, cell[2]]], cell=[*cell[:2], 2 * cell[2]], pbc=True)
    assert is_one_crystal(two, 6.0) is is_one
    assert is_one_crystal(make_supercell(two, [[1, 1, 0], [0, 1, 0], [0, 2, 3]]), 6.0) is is_one


def test_real_crystals_are_one():
    assert all(is_one_crystal(atoms, 6.0) for atoms in real_crystals().values())


def test_coordination_windows(check):
    atoms = bulk("Cu", "fcc", a=3.61)
    assert check(atoms, coordination_max=10) is Rejection.COORDINATION_HIGH
    assert check(atoms, coordination_min=30) is Rejection.COORDINATION_LOW
