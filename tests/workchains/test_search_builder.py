"""Builders of searches from a protocol."""

from __future__ import annotations

import pytest
from aiida import orm

from aiida_fuse2.core.errors import InputError


def test_no_fitting_structure_is_refused(emt_builder):
    from ase.build import bulk

    wrong = orm.StructureData(ase=bulk("Cu", "fcc", a=3.6)).store()
    with pytest.raises(InputError, match="wrong_composition"):
        emt_builder(structures=[wrong], starts="provided")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"composition": "Xx"}, "not an element"),
        ({"composition": "Cu3Au", "max_atoms": 3}, "4 atoms"),
        ({"composition": "Cu3Au", "walkers": -1}, "greater than or equal"),
        ({"composition": "Cu3Au", "relax": {"fmax": 0}}, "greater than 0"),
    ],
)
def test_builder_refuses_bad_input(emt_builder, arguments, hint):
    with pytest.raises(InputError, match=hint):
        emt_builder(**arguments)
