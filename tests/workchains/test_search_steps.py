"""Steps of the search that decide whether it continues, one by one, without a job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from aiida import orm
from aiida.engine import ProcessState
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.query.stopping import STOP_EXTRA, STOP_NOW


@pytest.fixture
def begun(emt_builder):
    """A factory of searches that have been set up; ``state`` are changes of their first state."""
    made = []

    def make(state=None, *, pool_node=None, **settings):
        process = instantiate_process(get_manager().get_runner(), emt_builder(pool_node=pool_node, **settings))
        made.append(process)
        process.setup()
        if state:
            values = SearchState.from_dict(orm.load_node(process.ctx.state).get_dict())
            process.ctx.state = orm.Dict(replace(values, **state).to_dict()).store().uuid
        return process

    yield make
    for process in made:
        process.node.set_process_state(ProcessState.FINISHED)
        process.node.seal()


def test_a_new_search_continues(begun):
    process = begun()
    assert process.should_continue()
    assert orm.load_node(process.ctx.state).creator.process_label == "begin"
    assert orm.Group.collection.get(label=f"fuse2/{process.node.uuid}").is_empty


@pytest.mark.parametrize(
    ("settings", "state", "limit"),
    [
        ({"max_structures": 8}, {"tried": 8}, "max_structures = 8"),
        ({"max_structures": 8}, {"tried": 7}, None),
        ({"rmax": 5}, {"tried": 6, "since_best": 5}, "rmax = 5"),
        ({"max_cpu_hours": 0.5}, {"tried": 1, "cpu_seconds": 1800.0}, "max_cpu_hours = 0.5"),
        ({"max_cpu_hours": 0.5}, {"tried": 1, "cpu_seconds": 1799.0}, None),
        ({"max_wall_hours": 1e-9}, {}, "max_wall_hours = 1e-09"),
        ({"max_wall_hours": 1.0}, {}, None),
    ],
)
def test_limits_end_it(begun, settings, state, limit):
    process = begun(state, **settings)
    assert process.should_continue() == (limit is None)
    exit_code = process.finalise()
    if limit is None:
        assert exit_code.status == 700  # nothing but a request ends it then
    elif state:
        assert (exit_code.status, "No trial could be relaxed" in exit_code.message) == (401, True)
    else:
        assert (exit_code.status, limit in exit_code.message) == (701, True)


def test_little_space_ends_it(begun, monkeypatch):
    process = begun()
    free = [0.25e9]
    monkeypatch.setattr("aiida_fuse2.workchains.search.least_free", lambda: (free[0], Path("/data")))
    assert process.should_continue()
    free[0] = 0.15e9
    assert not process.should_continue()
    exit_code = process.finalise()
    assert exit_code.status == 303
    assert exit_code.message == (
        "0.15 GB free in /data, less than settings.min_free_disk = 0.2; make room, then continue"
    )


@pytest.mark.parametrize("request_", [True, STOP_NOW])
def test_a_request_to_stop_ends_it(begun, request_):
    process = begun({"tried": 3})
    process.node.base.extras.set(STOP_EXTRA, request_)
    assert not process.should_continue()
    exit_code = process.finalise()
    assert (exit_code.status, exit_code.message) == (700, "Stopped on request after 3 structures.")


def test_only_generators_with_a_job_fill_the_pool(begun):
    assert begun(starts="symmetric").should_fill_pool()
    assert not begun(starts="fgen").should_fill_pool()
