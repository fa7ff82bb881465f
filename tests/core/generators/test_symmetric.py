"""Tests of random structures in random space groups."""

from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
import spglib
from pyxtal.symmetry import Group

from aiida_fuse2.core.crystal.wyckoff import compatible_groups
from aiida_fuse2.core.errors import GenerationError
from aiida_fuse2.core.generators import get_generator, symmetric
from aiida_fuse2.core.generators.symmetric import Symmetric
from tests.core.generators.contexts import context_of


def generate(context, seeds):
    for seed in seeds:
        with suppress(GenerationError):
            yield Symmetric()(context, np.random.default_rng(seed))


@pytest.mark.parametrize(("formula", "max_atoms"), [("SrTiO3", 10), ("CoAs2", 24), ("Li4OBrCl", 14)])
def test_structures_are_symmetric_primitive_and_within_the_limits(formula, max_atoms):
    context = context_of(formula, max_atoms)
    structures = list(generate(context, range(25)))
    assert len(structures) >= 20
    for atoms in structures:
        assert context.unit.z_of(atoms) is not None
        assert len(atoms) <= max_atoms
        cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
        assert spglib.get_symmetry_dataset(cell, symprec=1e-3).number > 1
        primitive = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=1e-3)
        assert len(primitive[2]) == len(atoms)
        assert atoms.get_all_distances(mic=True)[np.triu_indices(len(atoms), 1)].min() > 0.4
    assert len({context.unit.z_of(a) for a in structures}) >= 2


def test_centred_groups_are_counted_in_the_primitive_cell():
    context = context_of("SrTiO3", 5)
    groups = [Group(n) for n in compatible_groups((1, 1, 3))]
    assert any(group.cellsize() == 4 for group in groups)
    assert all(len(atoms) == 5 for atoms in generate(context, range(20)))


def test_the_seed_decides_and_nothing_else():
    context = context_of("SrTiO3", 10)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is what is tested
    first = list(generate(context, range(6)))
    list(generate(context, range(20, 24)))
    again = list(generate(context, range(6)))
    assert len(first) == len(again) > 0
    assert all(a == b for a, b in zip(first, again, strict=True))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_structure_follows_the_state_of_the_generator_not_its_history():
    """Spawned streams would depend on how often the seed sequence was spawned before."""
    context = context_of("SrTiO3", 10)
    used = np.random.default_rng(3)
    used.spawn(4)
    assert Symmetric()(context, used) == Symmetric()(context, np.random.default_rng(3))


def test_successive_structures_differ():
    context, rng = context_of("CoAs2", 12), np.random.default_rng(1)
    first, second = Symmetric()(context, rng), Symmetric()(context, rng)
    assert first != second


def test_space_groups_of_many_crystals_are_drawn_more_often():
    """With equal chances each of the 200 groups or so would be drawn once or twice."""
    context = context_of("SrTiO3", 20, min_atoms=20)
    contents = [symmetric._draw_contents(context, np.random.default_rng(seed)) for seed in range(300)]
    drawn = Counter(number for _, number in contents)
    assert drawn[62] >= 8
    assert len(drawn) > 60


def test_crowded_cells_are_a_counted_failure(monkeypatch):
    monkeypatch.setattr(symmetric, "MIN_CONTACT", 5.0)
    with pytest.raises(GenerationError) as caught:
        Symmetric()(context_of("Li4OBrCl", 14), np.random.default_rng(0))
    assert caught.value.reason == "too_crowded"
    assert "space group" in caught.value.detail


@pytest.mark.parametrize(("formula", "max_atoms"), [("SrTiO3", 10), ("Si6Al6B3Fe3NaO30F", 50)])
def test_most_attempts_give_a_structure(formula, max_atoms):
    assert len(list(generate(context_of(formula, max_atoms), range(20)))) >= 12


def test_limits_without_a_cell_are_a_counted_failure():
    with pytest.raises(GenerationError) as caught:
        Symmetric()(context_of("SrTiO3", 9, min_atoms=6), np.random.default_rng(0))
    assert caught.value.reason == "no_feasible_z"


def test_nothing_is_printed(capfd):
    list(generate(context_of("SrTiO3", 10), range(5)))
    assert capfd.readouterr() == ("", "")


def test_registered_by_name():
    assert isinstance(get_generator("symmetric"), Symmetric)
