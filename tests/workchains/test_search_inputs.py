"""Inputs of a search that are refused before anything is submitted."""

from __future__ import annotations

import pytest
from aiida.engine import run_get_node

from aiida_fuse2.core.errors import InputError, RefusedInputsError
from aiida_fuse2.launch.inputs import check_inputs
from aiida_fuse2.workchains.search_inputs import ranking_settings


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"starts": "oracle"}, "must be one of"),
        ({"starts": "provided"}, "needs structures"),
    ],
)
def test_contradictory_inputs_are_refused_before_submission(emt_builder, changes, hint):
    with pytest.raises((InputError, ValueError), match=hint):
        run_get_node(emt_builder(**changes))


@pytest.mark.parametrize("symbol", ["Am", "Ra", "Po"])
def test_unknown_element_of_the_model_is_refused(emt_builder, symbol):
    with pytest.raises(ValueError, match=f"CHGNet does not know {symbol}"):
        run_get_node(emt_builder(f"{symbol}O2", relax={"calculator": "chgnet"}, radii={symbol: 1.7}))


def test_pools_are_ranked_by_the_last_tier_that_can(tiers_builder, worker_code):
    builder = tiers_builder(starts="symmetric", pool={"size": 6, "ranking": "single"})
    assert ranking_settings(builder).uuid == builder.tiers["t01"]["settings"].uuid
    builder = tiers_builder(("pair",), tiers={}, starts="symmetric", pool={"size": 6, "ranking": "single"})
    with pytest.raises(RefusedInputsError, match="none of the tiers can rank"):
        check_inputs(builder)
