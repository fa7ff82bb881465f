"""How far a search is: one that has ended, one that has not begun, one that runs."""

from __future__ import annotations

from dataclasses import replace

from aiida_fuse2 import query


def test_progress_of_a_finished_search(search):
    reached = query.progress(search.pk)
    assert reached.is_terminated
    assert not reached.has_failed
    assert reached.state.to_dict() == search.outputs.state.get_dict()
    assert reached.best.pk == search.outputs.structure.pk
    assert reached.best.energy == search.outputs.energy.value
    known = search.outputs.structure.base.extras.get("fuse2")
    assert (reached.best.symbol, reached.best.number) == (known["spacegroup_symbol_loose"], known["spacegroup_loose"])
    assert reached.rate > 0
    assert reached.seconds_left(query.search_settings(search)) is None


def test_progress_before_the_first_generation(emt_builder):
    from aiida.engine.utils import instantiate_process
    from aiida.manage import get_manager

    process = instantiate_process(get_manager().get_runner(), emt_builder())
    reached = query.progress(process.node.pk)
    assert (reached.state, reached.best, reached.rate) == (None, None, None)
    assert reached.phase == "starting"
    assert query.ranked(process.node) == []


def test_time_left_is_that_of_the_nearer_limit(search):
    settings = query.search_settings(search)
    reached = replace(query.progress(search.pk), process_state="waiting", rate=3600.0)
    wider = settings.model_copy(update={"max_structures": 108, "rmax": 1000})
    assert reached.seconds_left(wider) == 100
    nearer = wider.model_copy(update={"rmax": reached.state.since_best + 7})
    assert reached.seconds_left(nearer) == 7
