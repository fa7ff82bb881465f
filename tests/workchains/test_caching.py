"""Caching switched on by the user changes nothing but time."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching

from tests.workchains.comparing import rows_of


def run_cached(builder):
    with enable_caching():
        _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    return node


def from_cache(search):
    """Return which of the processes that a search called came out of the cache."""
    return {
        node.base.links.get_incoming().first().link_label + f" {node.pk}": node.base.caching.is_created_from_cache
        for node in search.called
    }


def test_second_search_is_the_first(emt_builder):
    arguments = {"max_structures": 8, "seed": 21}
    one = run_cached(emt_builder(**arguments))
    two = run_cached(emt_builder(**arguments))
    assert not any(from_cache(one).values())
    assert all(from_cache(two).values())
    assert len(from_cache(two)) == len(from_cache(one))
    assert rows_of(two) == rows_of(one)  # times too
    assert two.outputs.structure.uuid != one.outputs.structure.uuid
    assert two.outputs.ranked.get_dict() == one.outputs.ranked.get_dict()
    labels = [row["label"] for row in rows_of(two) if row["status"] == "converged"]
    group = orm.Group.collection.get(label="fuse2/" + two.uuid)
    assert sorted(node.label for node in group.nodes) == sorted(labels)
    assert all("fuse2" in node.base.extras.all for node in group.nodes)


@pytest.mark.parametrize("name", ["engine_software", "worker_software"])
def test_other_versions_are_computed_again(emt_builder, monkeypatch, name):
    arguments = {"max_structures": 4, "seed": 22}
    one = run_cached(emt_builder(**arguments))
    monkeypatch.setattr(f"aiida_fuse2.workchains.search.{name}", lambda *_: {"aiida-fuse2": "999"})
    two = run_cached(emt_builder(**arguments))
    cached = {node.process_label: node.base.caching.is_created_from_cache for node in two.called}
    assert rows_of(two)[0]["energy"] == rows_of(one)[0]["energy"]
    if name == "engine_software":
        assert not any(cached[label] for label in ("begin", "propose", "decide", "summarise"))
    else:
        assert cached["propose"]
        assert not cached["RelaxCalculation"]


def test_job_of_unknown_versions_is_not_cached(emt_builder, monkeypatch):
    monkeypatch.setattr("aiida_fuse2.workchains.search.worker_software", lambda *_: None)
    arguments = {"max_structures": 4, "seed": 23}
    run_cached(emt_builder(**arguments))
    two = run_cached(emt_builder(**arguments))
    cached = {node.process_label: node.base.caching.is_created_from_cache for node in two.called}
    assert cached["propose"]
    assert not cached["RelaxCalculation"]


def test_walkers_of_a_cached_search_do_not_repeat_themselves(emt_builder):
    """The second seed shares nothing with the first, and no generation shares trials with another one."""
    one = run_cached(emt_builder(max_structures=12, seed=24))
    two = run_cached(emt_builder(max_structures=12, seed=25))
    made = [node for node in two.called if node.process_label in {"propose", "RelaxCalculation", "decide"}]
    assert not any(node.base.caching.is_created_from_cache for node in made)
    trials = [node.inputs.trials.base.repository.hash() for node in made if "trials" in node.inputs]
    assert len(set(trials)) == 5
    assert [r["label"] for r in rows_of(one)] == [r["label"] for r in rows_of(two)]


def test_worker_tells_its_versions(worker_code):
    from importlib.metadata import version

    from aiida_fuse2.workchains.software import worker_software

    assert worker_software(worker_code)["ase"] == version("ase")
