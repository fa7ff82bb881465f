import numpy as np
import pytest
from ase import Atoms
from ase.geometry import get_distances, minkowski_reduce
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.crystal.vacancies import GRID_SPACING, VacancyMap
from tests.strategies import cells, crystals, garnet, seeds

exclusions = st.floats(0.5, 2.5)


def _map(atoms, exclusion):
    return VacancyMap(atoms.cell.array, atoms.get_scaled_positions(), exclusion)


def _distances(a, b, cell):
    return get_distances(a, b, cell=cell, pbc=True)[1]


@given(crystals(), exclusions)
def test_vacant_places_are_farther_than_exclusion_from_every_atom(atoms, exclusion):
    places = _map(atoms, exclusion).places
    assert (places >= 0).all()
    assert (places < 1).all()
    if len(places):
        some = places[:: max(1, len(places) // 200)] @ atoms.cell.array
        assert _distances(some, atoms.positions, atoms.cell).min() > exclusion - 1e-9


@settings(max_examples=25)
@given(crystals(cell=cells(max_length=6.0)), exclusions, seeds)
def test_no_hole_is_missed(atoms, exclusion, seed):
    probes = np.random.default_rng(seed).random((10, 3)) @ atoms.cell.array
    reach = 1.5 * GRID_SPACING  # half of three edges of a voxel
    far = probes[_distances(probes, atoms.positions, atoms.cell).min(axis=1) > exclusion + reach]
    assume(len(far))
    places = _map(atoms, exclusion).places @ atoms.cell.array
    assert _distances(far, places, atoms.cell).min(axis=1).max() <= reach


@given(crystals(), exclusions, st.integers(1, 6), seeds)
def test_drawn_places_keep_exclusion_from_each_other(atoms, exclusion, count, seed):
    drawn = _map(atoms, exclusion).draw(count, np.random.default_rng(seed))
    assert len(drawn) <= count
    places = np.vstack([drawn @ atoms.cell.array, atoms.positions])
    apart = _distances(places[: len(drawn)], places, atoms.cell)
    apart[np.arange(len(drawn)), np.arange(len(drawn))] = np.inf
    assert apart.min(initial=np.inf) > exclusion - 1e-9


@given(crystals(), seeds)
def test_fewer_places_are_drawn_only_where_the_cell_is_full(atoms, seed):
    vacancies = _map(atoms, 1.5)
    drawn = vacancies.draw(1000, np.random.default_rng(seed))
    assert len(drawn) < 1000
    assert len(vacancies) == 0


@given(crystals(), seeds)
def test_drawing_is_reproducible(atoms, seed):
    first, second = (_map(atoms, 1.0).draw(3, np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(first, second)


@given(cells(max_shear=0), st.integers(-5, 5), st.integers(-5, 5))
def test_the_same_lattice_has_as_many_places_in_any_cell(cell, first, second):
    sheared = np.array([[1, 0, 0], [first, 1, 0], [0, second, 1]]) @ cell
    counts = [len(VacancyMap(c, np.zeros((1, 3)), 1.0)) for c in (minkowski_reduce(cell)[0], sheared)]
    assert counts[0] > 0
    assert 0.6 < counts[1] / counts[0] < 1.6  # reduced cells are not unique: their grids may differ


def test_places_agree_with_a_sphere():
    vacancies = VacancyMap(np.eye(3) * 8.0, np.zeros((1, 3)), 2.0)
    expected = 1 - 4 / 3 * np.pi * 2.0**3 / 8.0**3
    assert len(vacancies) / 20**3 == pytest.approx(expected, abs=0.01)


def test_a_lattice_vector_below_exclusion_leaves_nothing():
    atoms = Atoms("O", cell=[0.8, 8.0, 8.0], pbc=True)
    assert len(_map(atoms, 1.0)) == 0
    assert _map(atoms, 1.0).draw(2, np.random.default_rng(0)).shape == (0, 3)


def test_garnet_has_holes_of_its_own_size_only():
    assert len(_map(garnet(), 1.0)) > 0
    assert len(_map(garnet(), 3.0)) == 0
