"""Steps of the search, one by one, without a job: what it submits are nodes made by hand."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from aiida import orm
from aiida.common.extendeddicts import AttributeDict
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from aiida_fuse2 import query
from aiida_fuse2.calculations.functions import begin
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.search.watching import Watch
from aiida_fuse2.query.chain import generation_records
from aiida_fuse2.query.stopping import STOP_EXTRA, STOP_NOW
from aiida_fuse2.workchains.relax import INPUT_REFUSED

LONG = {"max_structures": 100, "rmax": 100}


@pytest.fixture
def begun(emt_builder):
    """A factory of searches that have been set up; ``state`` are changes of their first state.

    What a test calls is called by the search that was made last, as if a runner took its steps.
    """
    made, scopes = [], ExitStack()

    def make(state=None, *, pool_node=None, **settings):
        process = instantiate_process(get_manager().get_runner(), emt_builder(pool_node=pool_node, **settings))
        made.append(process)
        scopes.enter_context(process._process_scope())
        process.setup()
        if state:
            values = SearchState.from_dict(orm.load_node(process.ctx.state).get_dict())
            process.ctx.state = orm.Dict(replace(values, **state).to_dict()).store().uuid
        return process

    yield make
    scopes.close()
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
        ({**LONG, "stop_chance": 0.2}, {"tried": 21, "watch": Watch(1, 19, {1: 3, 2: 3})}, "stop_chance = 0.2"),
        ({**LONG, "stop_chance": 0.2}, {"tried": 21, "watch": Watch(1, 18, {1: 3, 2: 3})}, None),
        ({**LONG, "stop_chance": 0.2}, {"tried": 21, "watch": Watch(1, 19, {1: 3, 2: 2})}, None),
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


def test_a_request_before_anything_is_done_ends_it(begun, monkeypatch):
    def begin_and_ask(**inputs):
        query.ask_to_stop(query.load_search())
        return begin(**inputs)

    monkeypatch.setattr("aiida_fuse2.workchains.search.begin", begin_and_ask)
    process = begun()
    assert not process.should_continue()
    exit_code = process.finalise()
    assert (exit_code.status, exit_code.message) == (700, "Stopped on request after 0 structures.")


# --- generations ----------------------------------------------------------------------------------


def relax(process, status=0, message=None, *, rows=None):
    """Take the step that submits a generation; the job has ended with a status and with rows of results by label."""
    job = orm.WorkChainNode()

    def submit(_, metadata, **__):
        job.base.links.add_incoming(process.node, LinkType.CALL_WORK, metadata["call_link_label"])
        return job.store()

    process.submit = submit
    process.relax_trials()
    outputs = {} if rows is None else {"results": orm.Dict({"by_label": rows})}
    if rows is not None:
        outputs["relaxed"] = orm.SinglefileData.from_string("", filename="relaxed.extxyz")
    for name, node in outputs.items():
        node.store().base.links.add_incoming(job, LinkType.RETURN, name)
    job.set_process_state(ProcessState.FINISHED)
    job.set_exit_status(status)
    job.set_exit_message(message)
    job.seal()
    process.ctx.batch = AttributeDict({"job_00000": job})
    process.inspect_relaxation()


def propose(process):
    assert process.should_continue()
    process.take_added()
    process.propose_generation()
    assert process.should_relax()


def fail(process):
    """Take the steps of a generation none of whose structures converges."""
    propose(process)
    failed = {"status": "step_limit", "detail": "", "fingerprint": None, "cpu_seconds": 1.0}
    relax(process, rows=dict.fromkeys(process.ctx.generation.waiting, failed))
    assert not process.should_relax()
    process.decide_generation()


def test_failed_relaxations_are_counted_not_fatal(begun):
    process = begun(max_structures=4)
    fail(process)
    assert not process.should_continue()
    exit_code = process.finalise()
    assert (exit_code.status, "step_limit" in exit_code.message) == (401, True)
    state = SearchState.from_dict(process.outputs["state"].get_dict())
    assert (state.tried, state.failures) == (4, {"step_limit": 4})
    assert process.outputs["ranked"]["structures"] == []
    assert "structure" not in process.outputs


def test_stop_at_once_leaves_the_generation_out(begun):
    process = begun()
    fail(process)
    propose(process)
    before = process.search_state()
    process.node.base.extras.set(STOP_EXTRA, STOP_NOW)
    relax(process, 1, "killed")
    assert not process.should_relax()
    process.decide_generation()
    assert not process.should_continue()
    exit_code = process.finalise()
    assert (exit_code.status, exit_code.message) == (700, "Stopped on request after 4 structures.")
    assert len(generation_records(process.node.pk)) == before.generation == 1
    assert SearchState.from_dict(process.outputs["state"].get_dict()) == before


def test_broken_worker_ends_the_search_with_its_words(begun):
    process = begun()
    propose(process)
    relax(process, INPUT_REFUSED, "A tier refused its input: no.such: no such module")
    assert not process.should_relax()
    process.decide_generation()
    assert not process.should_continue()
    exit_code = process.finalise()
    assert exit_code.status == 301
    assert exit_code.message.endswith("A tier refused its input: no.such: no such module")
    assert process.outputs == {}


@pytest.mark.parametrize("has_rows", [True, False])
def test_jobs_without_one_good_result_end_the_search(begun, has_rows):
    """Results that contradict themselves are none; a structure is tried alone before its search is given up."""
    process = begun(job_attempts=2)
    propose(process)
    first, *others = process.ctx.generation.waiting
    asked = []
    while process.should_relax():
        bad = {"status": "bad_result", "detail": "energy_impossible"}
        rows = dict.fromkeys(process.ctx.generation.waiting, bad) if has_rows else None
        relax(process, 310, f"{first}: energy_impossible", rows=rows)
        asked.append(process.ctx.generation.asked)
    assert asked == [[first, *others], [first], others]
    process.decide_generation()
    assert not process.should_continue()
    exit_code = process.finalise()
    assert exit_code.status == 301
    assert exit_code.message.endswith(f"{first}: energy_impossible")
    assert generation_records(process.node.pk) == []
