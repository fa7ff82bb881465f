"""A symmetric start that is a saddle point is left for a lower structure, without any move."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_fuse2.calculations.conversions import columns_to_rows
from aiida_fuse2.core.search.trials import RATTLE
from aiida_fuse2.query.chain import generation_records
from aiida_fuse2.workchains.search import Fuse2WorkChain
from tests.core.crystals import ruddlesden_popper


@pytest.mark.slow
def test_untilted_parent_is_left(worker_code):
    """I4/mmm Ca3Ti2O7 has 12 atoms; its octahedra can tilt only in a doubled cell."""
    pytest.importorskip("chgnet")
    parent = orm.StructureData(ase=ruddlesden_popper()).store()
    settings = {"starts": "provided", "max_atoms": 24, "population_size": 1, "walkers": 1, "max_structures": 5}
    builder = Fuse2WorkChain.get_builder_from_protocol(
        "Ca3Ti2O7", worker_code, "fast", {"settings": settings}, structures=[parent]
    )
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    rows = [row for g in generation_records(search.pk) for row in columns_to_rows(g.columns)]
    start, *others = rows
    assert (start["origin"], start["spacegroup_symbol"], start["n_atoms"]) == ("provided", "I4/mmm", 12)
    assert {(row["move"], row["origin"]) for row in others} == {("", RATTLE)}
    assert sorted(row["n_atoms"] for row in others) == [12, 24, 24, 24]
    lowest = min(others, key=lambda row: row["energy"])
    assert lowest["n_atoms"] == 24
    assert lowest["energy"] < start["energy"] - 0.02
    assert search.outputs.energy.value == lowest["energy"]
    assert search.outputs.structure.label == lowest["label"]
