from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from hypothesis import given
from hypothesis import strategies as st

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.chemistry.radii import module_size, resolve_radii
from aiida_fuse2.core.crystal.slicing import assemble, grid_of, slice_structure
from tests.strategies import SPECIAL_FRACTIONS, cells, crystals, garnet, pair_distances, same_atoms

PUBLISHED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "published"
CIFS = sorted(PUBLISHED.glob("*/*.cif"))

grids = st.tuples(*[st.integers(1, 7)] * 3)


def _moved(a, b):
    return np.diag(pair_distances(a.positions, b.positions, a.cell.array))


@given(crystals(), st.none() | grids, st.floats(1.0, 8.0))
def test_slicing_is_lossless(atoms, grid, ap):
    sliced = slice_structure(atoms, ap, grid)
    again = assemble(sliced)
    assert np.array_equal(again.cell.array, atoms.cell.array)
    assert np.array_equal(again.numbers, atoms.numbers)
    assert _moved(atoms, again).max() < 1e-6
    assert all(again.pbc)


@given(crystals(), grids)
def test_every_atom_is_in_exactly_one_box(atoms, grid):
    sliced = slice_structure(atoms, 4.0, grid)
    assert (sliced.offsets >= 0).all()
    assert (sliced.offsets < 1).all()
    assert (sliced.boxes >= 0).all()
    assert (sliced.boxes < grid).all()
    assert (sliced.fractional >= 0).all()
    assert (sliced.fractional < 1).all()
    held = np.concatenate([sliced.contents(number) for number in range(sliced.n_boxes)])
    assert sorted(held) == list(range(len(atoms)))


@given(crystals(), grids)
def test_slicing_again_changes_nothing(atoms, grid):
    once = slice_structure(atoms, 4.0, grid)
    twice = slice_structure(assemble(once), 4.0, grid)
    assert _moved(assemble(once), assemble(twice)).max() < 1e-6


@given(crystals(), grids)
def test_slicing_leaves_its_input(atoms, grid):
    before = atoms.copy()
    sliced = slice_structure(atoms, 4.0, grid)
    sliced.cell[:] = 0
    sliced.numbers[:] = 1
    assert np.array_equal(atoms.positions, before.positions)
    assert np.array_equal(atoms.cell.array, before.cell.array)
    assert np.array_equal(atoms.numbers, before.numbers)


@given(grids, st.data())
def test_box_numbers_and_indices_agree(grid, data):
    cell = data.draw(cells())
    boxes = np.stack(np.meshgrid(*[np.arange(n) for n in grid], indexing="ij"), axis=-1).reshape(-1, 3)
    atoms = Atoms(numbers=[8] * len(boxes), positions=(boxes + 0.5) / grid @ cell, cell=cell, pbc=True)
    sliced = slice_structure(atoms, 4.0, grid)
    assert sorted(sliced.box_numbers) == list(range(sliced.n_boxes))
    for number, box in zip(sliced.box_numbers, boxes, strict=True):
        assert sliced.box_index(int(number)) == tuple(box)
        assert len(sliced.contents(int(number))) == 1


@given(crystals(min_atoms=2), grids, st.data())
def test_moving_atoms_to_other_boxes_keeps_them_in_the_cell(atoms, grid, data):
    sliced = slice_structure(atoms, 4.0, grid)
    index = st.tuples(*[st.integers(0, n - 1) for n in grid])
    boxes = np.array(data.draw(st.lists(index, min_size=len(atoms), max_size=len(atoms))))
    before = sliced.boxes.copy()
    other = sliced.with_boxes(boxes)
    assert np.array_equal(sliced.boxes, before)
    assert (other.fractional < 1).all()
    assert np.array_equal(other.boxes, boxes)


@pytest.mark.parametrize("noise", [-1e-9, 0.0, 1e-9])
def test_noise_does_not_decide_the_box_of_an_atom_on_a_face(noise):
    places = np.array([(f, f, f) for f in (0.0, 1 / 3, 2 / 3)]) * 12.0
    atoms = Atoms("O3", positions=places + noise, cell=[12.0] * 3, pbc=True)
    sliced = slice_structure(atoms, 4.0, (3, 3, 3))
    assert sliced.boxes[:, 0].tolist() == [0, 1, 2]
    assert np.array_equal(sliced.offsets, np.zeros((3, 3)))


@pytest.mark.parametrize("fraction", SPECIAL_FRACTIONS)
def test_special_fractions_stay_half_open(fraction):
    atoms = Atoms("O", positions=[[fraction * 9.0] * 3], cell=[9.0] * 3, pbc=True)
    sliced = slice_structure(atoms, 4.0, (3, 3, 3))
    assert (sliced.offsets >= 0).all()
    assert (sliced.offsets < 1).all()
    assert (sliced.boxes < 3).all()


@pytest.mark.parametrize(
    ("lengths", "grid"),
    [
        ((4.0, 4.0, 2.0), (1, 1, 1)),
        ((5.9, 6.1, 5.1), (1, 2, 3)),
        ((1.0, 1.0, 0.5), (1, 1, 1)),
        ((12, 8, 4), (3, 2, 2)),
    ],
)
def test_grid_is_the_nearest_whole_number_of_boxes(lengths, grid):
    assert grid_of(np.diag(lengths), 4.0) == grid


def test_garnet_is_sliced_as_in_the_paper():
    atoms = garnet()
    assert len(atoms) == 160
    unit = parse_composition("Ca3Al2Si3O12")
    ap = module_size(unit, resolve_radii(unit))
    assert round(ap, 2) == 4.24
    sliced = slice_structure(atoms, ap)
    assert sliced.grid == (3, 3, 6)
    assert sliced.n_boxes == 54
    assert sliced.n_modules == 6
    assert sliced.n_boxes // sliced.n_modules == 9
    assert np.allclose(sliced.cell / np.array(sliced.grid)[:, None], np.diag([11.845 / 3, 11.845 / 3, 11.845 / 6]))
    assert same_atoms(assemble(sliced), atoms)


@pytest.mark.skipif(not CIFS, reason="the published structures are not here")
@pytest.mark.parametrize("path", CIFS, ids=[f"{path.parent.name}-{path.stem}" for path in CIFS])
def test_published_structures_slice_without_loss(path):
    atoms = read(path)
    unit = parse_composition(path.parent.name)
    sliced = slice_structure(atoms, module_size(unit, resolve_radii(unit)))
    assert len(sliced) == len(atoms)
    assert same_atoms(assemble(sliced), atoms)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published structures are not here")
def test_all_published_structures_are_seen():
    assert len(CIFS) == 46
