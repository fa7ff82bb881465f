"""Tests of screening the user's structures."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.generators.provided import ProvidedRejection, has_partial_occupancy, screen_provided

UNIT = parse_composition("SrTiO3")


def perovskite():
    return Atoms(
        "SrTiO3",
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
        cell=[3.905] * 3,
        pbc=True,
    )


def accept(_):
    return None


def screen(*structures, max_atoms=20, check=accept, unit=UNIT):
    return screen_provided(structures, unit=unit, max_atoms=max_atoms, check=check)


def only_reason(atoms, **options):
    found = screen(atoms, **options)
    assert found.kept == []
    assert [index for index, _ in found.rejected] == [0]
    return found.rejected[0][1]


def test_a_primitive_cell_is_kept_as_given():
    given_cell = perovskite()
    kept = screen(given_cell).kept
    assert len(kept) == 1
    assert kept[0].cell.array == pytest.approx(given_cell.cell.array, abs=0)
    assert kept[0].positions == pytest.approx(given_cell.positions, abs=0)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.tuples(*[st.integers(1, 2)] * 3))
def test_supercells_are_reduced_before_they_are_counted(repeats):
    found = screen(perovskite().repeat(repeats), max_atoms=5)
    assert [len(a) for a in found.kept] == [5]
    assert found.kept[0].get_volume() == pytest.approx(3.905**3)


def test_a_conventional_cell_is_reduced():
    unit = parse_composition("NaCl")
    rocksalt = crystal(["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[5.64] * 3 + [90] * 3)
    found = screen(rocksalt, max_atoms=2, unit=unit)
    assert [len(a) for a in found.kept] == [2]


def test_nothing_passed_is_altered():
    atoms = perovskite().repeat((2, 1, 1))
    atoms.positions[0] -= 30.0
    atoms.info["name"] = "mine"
    before = atoms.copy()
    kept = screen(atoms, check=lambda a: a.positions.fill(0.0)).kept
    assert atoms == before
    assert atoms.info == {"name": "mine"}
    assert kept[0].info == {}
    assert kept[0].positions.any()


def test_more_atoms_than_the_limit_in_the_primitive_cell():
    assert only_reason(perovskite(), max_atoms=4) == "too_many_atoms"


@pytest.mark.parametrize(
    "atoms",
    [bulk("NaCl", "rocksalt", 5.6), perovskite()[:4], Atoms(cell=[4, 4, 4], pbc=True), perovskite()[[0] * 5]],
)
def test_other_compositions(atoms):
    assert only_reason(atoms) == "wrong_composition"


def test_molecules_and_slabs():
    slab = perovskite()
    slab.pbc = (True, True, False)
    assert only_reason(slab) == ProvidedRejection.NOT_PERIODIC


@pytest.mark.parametrize("cell", [[0, 0, 0], [4, 4, 0.1], [np.nan, 4, 4], [4, 4, 4000]])
def test_bad_cells(cell):
    atoms = perovskite()
    atoms.set_cell(np.diag(cell), scale_atoms=False)
    assert only_reason(atoms) == "bad_cell"


def test_atoms_on_top_of_each_other():
    atoms = perovskite()
    atoms.positions[3] = atoms.positions[2]
    assert only_reason(atoms) == ProvidedRejection.NO_SYMMETRY


def test_partial_occupancy_by_kind_of_site():
    atoms = perovskite()
    atoms.info["occupancy"] = {"0": {"Sr": 0.5, "Ca": 0.5}, "1": {"Ti": 1.0}}
    assert only_reason(atoms) == ProvidedRejection.PARTIAL
    atoms.info["occupancy"] = {"0": {"Sr": 1.0}, "1": {"Ti": 1.0}}
    assert len(screen(atoms).kept) == 1


@pytest.mark.parametrize("name", ["occupancy", "occupancies"])
def test_partial_occupancy_by_atom(name):
    atoms = perovskite()
    atoms.set_array(name, np.array([1, 1, 1, 1, 0.9]))
    assert has_partial_occupancy(atoms)
    atoms.set_array(name, np.ones(5))
    assert not has_partial_occupancy(atoms)


def test_the_check_gives_its_own_reason_and_the_order_is_kept():
    large = perovskite()
    large.set_cell(large.cell.array * 2, scale_atoms=True)
    found = screen(
        large,
        perovskite(),
        bulk("Cu"),
        perovskite(),
        check=lambda a: "density" if a.get_volume() > 100 else None,
    )
    assert found.rejected == [(0, "density"), (2, "wrong_composition")]
    assert len(found.kept) == 2
