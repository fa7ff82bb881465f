"""Tests of random structures in random space groups."""

import sys
from contextlib import suppress

import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st
from pyxtal import operations
from pyxtal.symmetry import Group

from aiida_fuse2.core.composition import parse_composition
from aiida_fuse2.core.errors import GenerationError
from aiida_fuse2.core.generators import GeneratorContext, get_generator, symmetric
from aiida_fuse2.core.generators.symmetric import SPACE_GROUPS, Symmetric, compatible_groups
from aiida_fuse2.core.radii import module_size, resolve_radii


def context_of(formula, max_atoms, min_atoms=1):
    unit = parse_composition(formula)
    radii = resolve_radii(unit)
    return GeneratorContext(
        unit=unit, radii=radii, ap=module_size(unit, radii), max_atoms=max_atoms, min_atoms=min_atoms
    )


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


@pytest.mark.parametrize("counts", [(1,), (7,), (16,), (1, 1, 3), (3, 2, 7), (6, 4, 14), (4, 1, 1, 1), (8, 16)])
def test_compatible_groups_agree_with_pyxtal(counts):
    expected = []
    for number in SPACE_GROUPS:
        group = Group(number)
        if group.check_compatible([n * group.cellsize() for n in counts])[0]:
            expected.append(number)
    assert list(compatible_groups(counts)) == expected


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_some_group_holds_any_composition(counts):
    assert 6 in compatible_groups(tuple(counts))


def test_one_fixed_position_is_not_given_to_two_elements():
    """F-43m has four positions of one atom per primitive cell, so a fifth element finds none."""
    assert 216 in compatible_groups((1, 1, 1, 1))
    assert 216 not in compatible_groups((1, 1, 1, 1, 1))


def test_work_is_bounded_by_a_count(monkeypatch):
    monkeypatch.setattr(symmetric, "MAX_LOOKUPS", 2)
    with pytest.raises(GenerationError) as caught:
        Symmetric()(context_of("Li4OBrCl", 14), np.random.default_rng(0))
    assert caught.value.reason == "too_crowded"


def test_pyxtal_is_left_as_it_was():
    original = operations.Tol_matrix
    list(generate(context_of("SrTiO3", 5), range(2)))
    assert operations.Tol_matrix is original


def test_sharing_the_tolerances_changes_no_structure(monkeypatch):
    context = context_of("SrTiO3", 10)
    shared = list(generate(context, range(5)))
    monkeypatch.setattr(symmetric, "_shared_tolerances", symmetric._quiet)
    assert list(generate(context, range(5))) == shared


def test_errors_of_pyxtal_are_counted(monkeypatch):
    monkeypatch.setattr(symmetric, "compatible_groups", lambda _: (227,))
    with pytest.raises(GenerationError) as caught:
        Symmetric()(context_of("SrTiO3", 5), np.random.default_rng(0))
    assert caught.value.reason == "pyxtal_failed"
    assert "227" in caught.value.detail


def test_limits_without_a_cell_are_a_counted_failure():
    with pytest.raises(GenerationError) as caught:
        Symmetric()(context_of("SrTiO3", 9, min_atoms=6), np.random.default_rng(0))
    assert caught.value.reason == "no_feasible_z"


def test_nothing_is_printed(capfd):
    list(generate(context_of("SrTiO3", 10), range(5)))
    assert capfd.readouterr() == ("", "")


def test_registered_by_name():
    assert isinstance(get_generator("symmetric"), Symmetric)
    assert "pyxtal" in sys.modules
