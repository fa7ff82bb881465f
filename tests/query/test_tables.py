"""Tables for notebooks, of a search that ran."""

from __future__ import annotations

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.tools import delete_nodes

from aiida_fuse2 import query


def test_explored_agrees_with_the_group(search):
    frame = query.explored(search.pk)
    group = orm.load_group(f"fuse2/{search.uuid}")
    assert set(frame["uuid"]) == {node.uuid for node in group.nodes}
    assert frame["number"].is_monotonic_increasing
    for row in frame.itertuples():
        extras = orm.load_node(int(row.pk)).base.extras.get("fuse2")
        assert extras["energy"] == row.energy
        assert extras["label"] == row.label


def test_best_structures(search):
    ranked = query.ranked(search)
    assert [node.pk for node in query.best(search, 100)] == [row["pk"] for row in ranked]
    assert query.best(search)[0].uuid == search.outputs.structure.uuid
    every = query.best(search.uuid, 100, unique=False)
    energies = [node.base.extras.get("fuse2")["energy"] for node in every]
    assert energies == sorted(energies)
    assert len(every) == len(query.explored(search))
    with pytest.raises(ValueError, match="n = 0"):
        query.best(search, 0)


def test_lineage_follows_the_links(search):
    frame = query.lineage(search.outputs.structure)
    assert frame["uuid"].iloc[-1] == search.outputs.structure.uuid
    for (_, child), (_, parent) in zip(frame.iloc[:0:-1].iterrows(), frame.iloc[-2::-1].iterrows(), strict=True):
        proposal = orm.load_node(int(child["pk"])).creator.inputs.trials.creator
        assert proposal.inputs[child["parent"]].uuid == parent["uuid"]
    assert frame["parent"].iloc[0] == ""
    with pytest.raises(query.NoSearchError):
        query.lineage(orm.StructureData(cell=np.eye(3)).store())


def test_searches_are_found_by_composition(search):
    frame = query.searches("AuCu3")
    row = frame[frame["pk"] == search.pk].squeeze()
    assert row["energy"] == search.outputs.energy.value
    assert (row["composition"], row["tried"], row["exit_status"]) == ("Cu3Au", 8, 0)
    assert search.pk in set(query.searches()["pk"])
    assert search.pk not in set(query.searches("SrTiO3")["pk"])
    with pytest.raises(ValueError, match="composition"):
        query.searches("not a formula")


def test_a_search_for_what_is_no_formula_any_more_hides_no_other(search):
    old = orm.WorkChainNode(process_type=query.PROCESS_TYPE)
    settings = orm.Dict({**search.inputs.settings.get_dict(), "composition": "SrTi03"}).store()
    old.base.links.add_incoming(settings, LinkType.INPUT_WORK, "settings")
    old.store()
    try:
        assert search.pk in set(query.searches("Cu3Au")["pk"])
        assert old.pk in set(query.searches()["pk"])
    finally:
        delete_nodes([old.pk, settings.pk], dry_run=False)
