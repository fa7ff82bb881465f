"""Tests of how often space groups are drawn."""

from collections import Counter

import numpy as np
import pytest

from aiida_fuse2.core.crystal.frequencies import EVEN, TYPES, draw_group, group_chances
from aiida_fuse2.core.prototypes.library import PrototypeError
from aiida_fuse2.io.prototypes import library_from_text, packaged_library

MOST_ATOMS = 50


def test_groups_of_many_crystals_have_the_larger_chance():
    groups = range(2, 231)
    chances = dict(zip(groups, group_chances(groups), strict=True))
    assert sum(chances.values()) == pytest.approx(1)
    assert max(chances, key=chances.get) == 62
    assert chances[62] / chances[227] == pytest.approx(82 / 20, rel=0.1)
    assert min(chances.values()) == pytest.approx(EVEN / 229)  # a group without a crystal is drawn, too


def test_chances_are_those_among_the_groups_that_can_be_drawn():
    fcc, hcp = group_chances([225, 194])
    assert hcp / fcc == pytest.approx((EVEN / 2 + 0.75 * 61 / 81) / (EVEN / 2 + 0.75 * 20 / 81))
    assert group_chances([1]) == pytest.approx([1])
    assert group_chances([89, 93]) == pytest.approx([0.5, 0.5])  # no known type has one of these


def test_groups_are_drawn_with_their_chances():
    groups, rng = (2, 62, 89, 225), np.random.default_rng(5)
    drawn = Counter(draw_group(groups, rng) for _ in range(4000))
    expected = 4000 * group_chances(groups)
    assert [drawn[group] for group in groups] == pytest.approx(expected, abs=4 * np.sqrt(expected.max()))


def test_table_is_that_of_the_packaged_library():
    try:
        library = library_from_text(packaged_library())
    except PrototypeError as error:
        pytest.skip(str(error))
    fitting = (p for p in library if len(p.atoms) <= MOST_ATOMS and len(set(p.atoms.symbols)) > 1)
    counted = Counter(int(prototype.label.split("_")[2]) for prototype in fitting)
    del counted[1]
    assert dict(counted) == TYPES
