"""Space groups and the occupation of their Wyckoff positions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyxtal.symmetry import Group

from aiida_fuse2.core.crystal.wyckoff import (
    SPACE_GROUPS,
    can_hold,
    compatible_groups,
    draw_positions,
    multiplicities,
    positions_of,
    primitive_basis,
)


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


@pytest.mark.parametrize("number", [2, 14, 38, 62, 139, 148, 166, 194, 216, 225])
def test_positions_are_those_of_the_primitive_cell(number):
    group = Group(number)
    centring = group.cellsize()
    assert abs(np.linalg.det(primitive_basis(number))) * centring == pytest.approx(1)
    positions = positions_of(number)
    assert [p.multiplicity * centring for p in positions] == [wp.multiplicity for wp in group]
    assert [len(p.free) for p in positions] == [wp.get_dof() for wp in group]
    fixed = Counter(dict(multiplicities(number).fixed))
    free = {p.multiplicity for p in positions if p.free}
    assert fixed == Counter(p.multiplicity for p in positions if not p.free and p.multiplicity not in free)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(0, 10**6))
def test_drawn_positions_hold_the_atoms_and_fixed_ones_are_taken_once(counts, seed):
    rng = np.random.default_rng(seed)
    groups = compatible_groups(tuple(counts))
    drawn = draw_positions(groups[rng.integers(len(groups))], counts, rng)
    assert [sum(p.multiplicity for p in positions) for positions in drawn] == counts
    fixed = [p.letter for positions in drawn for p in positions if not p.free]
    assert len(fixed) == len(set(fixed))


def test_draws_differ_and_repeat():
    def letters(seed):
        drawn = draw_positions(62, (4, 4, 12), np.random.default_rng(seed))
        return [[p.letter for p in positions] for positions in drawn]

    assert letters(1) == letters(1)
    assert len({str(letters(seed)) for seed in range(20)}) > 3


def test_a_group_that_cannot_hold_the_atoms():
    assert not can_hold(227, (1, 1, 3))
    assert can_hold(221, (1, 1, 3))
