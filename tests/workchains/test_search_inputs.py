"""Inputs of a search that are refused before anything is submitted."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_fuse2.core.errors import InputError, RefusedInputsError
from aiida_fuse2.core.search.policy import INHERITED
from aiida_fuse2.launch.inputs import check_inputs
from aiida_fuse2.workchains.search_inputs import ranking_inputs


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


RANKED = {"starts": "symmetric", "pool": {"size": 6, "ranking": "single"}}


def test_pools_are_ranked_by_the_last_tier_that_can(tiers_builder):
    builder = tiers_builder(**RANKED)
    assert ranking_inputs(builder)["tier"].uuid == builder.tiers["t01"]["settings"].uuid
    builder = tiers_builder(("pair",), tiers={}, **RANKED)
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


def test_pools_are_ranked_by_the_potential_that_is_named(tiers_builder, potential):
    builder = tiers_builder(("ase",), rank_by="pair", **RANKED)
    check_inputs(builder)
    found = ranking_inputs(builder)
    assert (found["tier"]["calculator"], found["tier"]["fmax"]) == ("pair", 0.1)
    assert found["potential"].uuid == potential.uuid
    assert "potential" not in builder.tiers["t00"]  # its energies are those of the tier alone


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"rank_by": "pair", "composition": "CuAl"}, "Al"),
        ({"rank_by": "pair", "starts": "fgen"}, "no pool is ranked"),
        ({"rank_by": "pair", "pool": {"ranking": "none"}}, "no pool is ranked"),
        ({"rank_by": "gulp"}, "has ase, chgnet, pair"),
        ({"rank_by": "chgnet", "composition": "AmO2", "radii": {"Am": 1.7}}, "CHGNet does not know Am"),
        ({"rank_by": "ase"}, "import path"),
    ],
)
def test_a_potential_that_cannot_rank_is_refused(tiers_builder, arguments, text):
    with pytest.raises((InputError, RefusedInputsError), match=text):
        check_inputs(tiers_builder(("ase",), **{**RANKED, **arguments}))


def test_a_library_to_rank_by_is_needed(tiers_builder):
    builder = tiers_builder(("ase",), rank_by="pair", **RANKED)
    del builder.ranking["potential"]
    with pytest.raises(RefusedInputsError, match=r"ranking\.potential.*needs a library"):
        check_inputs(builder)
