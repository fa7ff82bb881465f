import numpy as np
import pytest
from ase import Atoms
from ase.geometry import get_distances
from hypothesis import given, settings

from aiida_fuse2.core.crystal.contacts import MAX_GROWTH, pushed_apart, shortfall
from tests.core.crystals import perovskite
from tests.strategies import crystals, seeds


def test_a_shortfall_counts_each_pair_by_its_own_distance():
    atoms = perovskite()  # Ti-O 1.9525, O-O and Sr-O 2.761 Å
    least = np.full((5, 5), 1.0)
    assert shortfall(atoms, least) == 0.0
    oxygen = np.flatnonzero(atoms.numbers == 8)
    least[np.ix_(oxygen, oxygen)] = 3.0
    assert shortfall(atoms, least) == pytest.approx(3.0 - 3.905 / np.sqrt(2))


@settings(max_examples=40)
@given(crystals(min_atoms=2, max_atoms=8), seeds)
def test_atoms_are_pushed_as_far_apart_as_they_should_be(atoms, seed):
    least = np.full((len(atoms), len(atoms)), 1.4)
    before = atoms.copy()
    pushed = pushed_apart(atoms, least, np.random.default_rng(seed))
    assert atoms == before
    if pushed is None:
        assert atoms.get_volume() < len(atoms) * 1.4**3 * 3  # only where there is little room
        return
    assert shortfall(pushed, least) == 0.0
    assert np.array_equal(pushed.numbers, atoms.numbers)
    assert atoms.get_volume() - 1e-9 <= pushed.get_volume() <= MAX_GROWTH**3 * atoms.get_volume()


def test_what_is_apart_stays_and_only_short_pairs_move():
    atoms = Atoms("O4", positions=[[0, 0, 0], [1.0, 0, 0], [4, 4, 4], [4, 6, 4]], cell=[8.0] * 3, pbc=True)
    pushed = pushed_apart(atoms, np.full((4, 4), 1.5), np.random.default_rng(0))
    assert np.array_equal(pushed.positions[2:], atoms.positions[2:])
    assert 1.5 <= get_distances(pushed.positions[:1], pushed.positions[1:2])[1].item() < 1.6
    assert np.allclose(pushed.positions[:2].mean(axis=0), [0.5, 0, 0])
    assert np.array_equal(pushed.cell.array, atoms.cell.array)


def test_a_cell_grows_where_an_atom_touches_its_image():
    atoms = Atoms("O", cell=[1.2, 4.0, 4.0], pbc=True)
    pushed = pushed_apart(atoms, np.full((1, 1), 1.3), np.random.default_rng(0))
    assert np.linalg.norm(pushed.cell.array[0]) >= 1.3
    assert pushed_apart(atoms, np.full((1, 1), 2.0), np.random.default_rng(0)) is None
