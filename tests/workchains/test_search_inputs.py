"""Inputs of a search that are refused before anything is submitted."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_fuse2.core.errors import InputError, RefusedInputsError
from aiida_fuse2.core.search.policy import INHERITED
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


def test_policy_of_another_search_is_where_one_begins(emt_builder):
    """It is refused where it has no effect."""
    small = {"max_structures": 6, "population_size": 4, "walkers": 2}
    _, taught = run_get_node(emt_builder(policy="bandit", **small))
    learned = taught.outputs.state["learned"]
    assert set(learned["arms"]) == {"generator", "move", "size"}
    assert learned["arms"]["generator"]["fgen"]["trials"] > 2
    builder = emt_builder(policy="bandit", seed=5, **small)
    builder.policy = taught.outputs.state
    _, pupil = run_get_node(builder)
    assert pupil.is_finished_ok
    first = next(node for node in pupil.called if node.process_label == "begin").outputs.result["learned"]
    fgen = learned["arms"]["generator"]["fgen"]["trials"]
    assert first["arms"]["generator"]["fgen"]["trials"] == pytest.approx(INHERITED * fgen)
    assert pupil.outputs.state["learned"]["arms"]["generator"]["fgen"]["trials"] > fgen

    builder.state = taught.outputs.state
    with pytest.raises(ValueError, match="no effect on a search that continues"):
        run_get_node(builder)
    builder = emt_builder(**small)
    fixed, empty = "no effect with settings.policy: fixed", "must be the state of a search"
    for node, hint in ((taught.outputs.state, fixed), (orm.Dict({}), empty)):
        builder.policy = node
        with pytest.raises(ValueError, match=hint):
            run_get_node(builder)
