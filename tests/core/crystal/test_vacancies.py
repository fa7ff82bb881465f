import numpy as np
import pytest
from ase import Atoms
from ase.geometry import get_distances, minkowski_reduce
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.crystal.vacancies import GRID_SPACING, VacancyMap
from tests.strategies import cells, crystals, garnet, seeds

exclusions = st.floats(0.5, 2.5)

SPECIES = (3, 8, 20, 22, 74)
"""Atomic numbers of the crystals of the strategies."""

LEAST = {(a, b): 0.5 + 0.01 * (a + b) for a in SPECIES for b in SPECIES}
"""Another distance for each pair, Å: 0.56 to 1.98."""


def _map(atoms, exclusion):
    """Vacancies with the same distance from every atom; all species have number 0."""
    vacancies = VacancyMap(atoms.cell.array, {(0, 0): exclusion})
    for place in atoms.get_scaled_positions():
        vacancies.occupy(place, 0)
    return vacancies


def _map_of_pairs(atoms):
    vacancies = VacancyMap(atoms.cell.array, LEAST)
    for place, number in zip(atoms.get_scaled_positions(), atoms.numbers, strict=True):
        vacancies.occupy(place, number)
    return vacancies


def _distances(a, b, cell):
    return get_distances(a, b, cell=cell, pbc=True)[1]


def _drawn(vacancies, count, seed):
    rng, drawn = np.random.default_rng(seed), []
    while len(drawn) < count and (place := vacancies.draw(0, rng)) is not None:
        drawn.append(place)
        vacancies.occupy(place, 0)
    return np.array(drawn).reshape(-1, 3)


@given(crystals(), exclusions)
def test_vacant_places_are_farther_than_exclusion_from_every_atom(atoms, exclusion):
    places = _map(atoms, exclusion).places(0)
    assert (places >= 0).all()
    assert (places < 1).all()
    if len(places):
        some = places[:: max(1, len(places) // 200)] @ atoms.cell.array
        assert _distances(some, atoms.positions, atoms.cell).min() > exclusion - 1e-9


@given(crystals(special=False), st.sampled_from(SPECIES))
def test_each_pair_has_its_own_distance(atoms, number):
    vacancies = _map_of_pairs(atoms)
    places = vacancies.places(number)
    least = np.array([LEAST[number, other] for other in atoms.numbers])
    some = places[:: max(1, len(places) // 200)]
    if len(some):
        assert (_distances(some @ atoms.cell.array, atoms.positions, atoms.cell) > least - 1e-9).all()
        assert all(vacancies.is_vacant(place, number) for place in some)


@given(crystals(special=False), st.sampled_from(SPECIES), seeds)
def test_a_place_off_the_grid_is_vacant_by_the_same_distances(atoms, number, seed):
    vacancies = _map_of_pairs(atoms)
    least = np.array([LEAST[number, other] for other in atoms.numbers])
    shortest = np.linalg.norm(minkowski_reduce(atoms.cell.array)[0], axis=1).min()
    for place in np.random.default_rng(seed).random((10, 3)):
        apart = _distances(place @ atoms.cell.array, atoms.positions, atoms.cell)[0]
        assert vacancies.is_vacant(place, number) == bool((apart > least).all() and shortest > LEAST[number, number])


@given(crystals(special=False), seeds)
def test_closed_places_are_not_drawn_but_can_be_taken_back(atoms, seed):
    vacancies, closed = _map(atoms, 0.6), np.random.default_rng(seed).random(3)
    assume(vacancies.is_vacant(closed, 0))
    before = len(vacancies.places(0))
    vacancies.close(closed, 1.0)
    places = vacancies.places(0)
    assert len(places) < before
    if len(places):
        assert _distances(places @ atoms.cell.array, closed @ atoms.cell.array, atoms.cell).min() > 1.0 - 1e-9
    assert vacancies.is_vacant(closed, 0)


@settings(max_examples=25)
@given(crystals(cell=cells(max_length=6.0)), exclusions, seeds)
def test_no_hole_is_missed(atoms, exclusion, seed):
    probes = np.random.default_rng(seed).random((10, 3)) @ atoms.cell.array
    reach = 1.5 * GRID_SPACING  # half of three edges of a voxel
    far = probes[_distances(probes, atoms.positions, atoms.cell).min(axis=1) > exclusion + reach]
    assume(len(far))
    places = _map(atoms, exclusion).places(0) @ atoms.cell.array
    assert _distances(far, places, atoms.cell).min(axis=1).max() <= reach


@given(crystals(), exclusions, st.integers(1, 6), seeds)
def test_drawn_places_keep_exclusion_from_each_other(atoms, exclusion, count, seed):
    drawn = _drawn(_map(atoms, exclusion), count, seed)
    assert len(drawn) <= count
    places = np.vstack([drawn @ atoms.cell.array, atoms.positions])
    apart = _distances(places[: len(drawn)], places, atoms.cell)
    apart[np.arange(len(drawn)), np.arange(len(drawn))] = np.inf
    assert apart.min(initial=np.inf) > exclusion - 1e-9


@given(crystals(), seeds)
def test_fewer_places_are_drawn_only_where_the_cell_is_full(atoms, seed):
    vacancies = _map(atoms, 1.5)
    drawn = _drawn(vacancies, 1000, seed)
    assert len(drawn) < 1000
    assert len(vacancies.places(0)) == 0


@given(crystals(), seeds)
def test_drawing_is_reproducible(atoms, seed):
    first, second = (_drawn(_map(atoms, 1.0), 3, seed) for _ in range(2))
    assert np.array_equal(first, second)


@given(cells(max_shear=0), st.integers(-5, 5), st.integers(-5, 5))
def test_the_same_lattice_has_as_many_places_in_any_cell(cell, first, second):
    sheared = np.array([[1, 0, 0], [first, 1, 0], [0, second, 1]]) @ cell
    lattices = [Atoms("O", cell=c, pbc=True) for c in (minkowski_reduce(cell)[0], sheared)]
    counts = [len(_map(atoms, 1.0).places(0)) for atoms in lattices]
    assert counts[0] > 0
    assert 0.6 < counts[1] / counts[0] < 1.6  # reduced cells are not unique: their grids may differ


def test_places_agree_with_a_sphere():
    vacancies = _map(Atoms("O", cell=[8.0] * 3, pbc=True), 2.0)
    expected = 1 - 4 / 3 * np.pi * 2.0**3 / 8.0**3
    assert len(vacancies.places(0)) / 20**3 == pytest.approx(expected, abs=0.01)


def test_a_lattice_vector_below_exclusion_leaves_nothing():
    vacancies = _map(Atoms("O", cell=[0.8, 8.0, 8.0], pbc=True), 1.0)
    assert len(vacancies.places(0)) == 0
    assert vacancies.draw(0, np.random.default_rng(0)) is None
    assert not vacancies.is_vacant(np.array([0.5, 0.5, 0.5]), 0)


def test_garnet_has_holes_of_its_own_size_only():
    assert len(_map(garnet(), 1.0).places(0)) > 0
    assert len(_map(garnet(), 3.0).places(0)) == 0
