"""Steps of the WorkChain of several runs, one by one: its searches are nodes made by hand."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from aiida_fuse2 import query
from aiida_fuse2.query.loading import searches_of_runs
from aiida_fuse2.query.stopping import STOP_EXTRA, STOP_NOW
from aiida_fuse2.workchains.runs import FOUND, Fuse2RunsWorkChain

SEED = 5


def search_node(runs, run, settings):
    """A search as a daemon would have it that has just begun."""
    node = orm.WorkChainNode(process_type=query.PROCESS_TYPE)
    node.base.links.add_incoming(runs, LinkType.CALL_WORK, f"run_{run:02d}")
    node.base.links.add_incoming(settings, LinkType.INPUT_WORK, "settings")
    node.set_process_state(ProcessState.WAITING)
    node.set_checkpoint("a checkpoint")
    return node.store()


@pytest.fixture
def make(emt_builder):
    """A factory of runs that have been made and not yet begun; what they submit is made by hand."""
    made = []

    def submit(process, _, **inputs):
        label = inputs["metadata"]["call_link_label"]
        return search_node(process.node, int(label.removeprefix("run_")), inputs["settings"])

    def build(**arguments):
        builder = Fuse2RunsWorkChain.builder_of_search(emt_builder(seed=SEED), **arguments)
        process = instantiate_process(get_manager().get_runner(), builder)
        process.submit = submit.__get__(process)
        made.append(process)
        return process

    yield build
    for process in made:
        for search in searches(process):
            if not search.has_ended:
                end(orm.load_node(search.pk), 0)
        process.node.set_process_state(ProcessState.FINISHED)


def searches(process):
    return searches_of_runs(process.node.pk)


def seeds(process):
    return [orm.load_node(search.pk).inputs.settings["seed"] for search in searches(process)]


def end(node, status, *, outputs=None, message=None):
    """Let a search end with an exit status and the outputs of another one."""
    for name in FOUND if outputs is not None else ():
        outputs.outputs[name].base.links.add_incoming(node, LinkType.RETURN, name)
    node.set_process_state(ProcessState.FINISHED)
    node.set_exit_status(status)
    if message is not None:
        node.set_exit_message(message)
    node.delete_checkpoint()
    node.seal()


def end_run(process, run, status=0, **arguments):
    end(orm.load_node(searches(process)[run].pk), status, **arguments)


def test_all_begin_at_once(make):
    process = make(runs=3)
    assert process.should_continue()
    process.submit_searches()
    assert seeds(process) == [SEED, SEED + 1, SEED + 2]
    process.submit_searches()
    assert len(searches(process)) == 3
    for run in range(3):
        assert process.should_continue()
        end_run(process, run)
    assert not process.should_continue()


def test_next_run_begins_when_one_has_ended(make):
    process = make(runs=4, concurrent=2)
    process.submit_searches()
    assert seeds(process) == [SEED, SEED + 1]
    end_run(process, 1)
    process.submit_searches()
    assert seeds(process) == [SEED, SEED + 1, SEED + 2]
    end_run(process, 0)
    end_run(process, 2, 301)
    process.submit_searches()
    assert seeds(process) == [SEED, SEED + 1, SEED + 2, SEED + 3]
    end_run(process, 3)
    assert not process.should_continue()


def test_it_waits_for_the_earliest_that_runs(make):
    process = make(runs=3)
    process.submit_searches()
    end_run(process, 0)
    waited = process.submit_searches()
    assert waited["waited"].pk == searches(process)[1].pk


def test_search_that_a_kill_left_as_it_was_made_is_begun_again(make):
    process = make(runs=2, concurrent=1)
    dead = orm.WorkChainNode(process_type=query.PROCESS_TYPE)
    dead.base.links.add_incoming(process.node, LinkType.CALL_WORK, "run_00")
    dead.store()
    process.submit_searches()
    assert [search.run for search in searches(process)] == [0]
    assert searches(process)[0].pk != dead.pk
    assert orm.load_node(dead.pk).is_sealed


@pytest.mark.parametrize("request_", [True, STOP_NOW])
def test_stop_reaches_what_runs_and_nothing_else_begins(make, search, request_):
    process = make(runs=3, concurrent=1)
    process.submit_searches()
    process.node.base.extras.set(STOP_EXTRA, request_)
    process.submit_searches()
    (only,) = searches(process)
    assert orm.load_node(only.pk).base.extras.get(STOP_EXTRA) == request_
    assert process.should_continue()
    end_run(process, 0, 700, outputs=search)
    assert not process.should_continue()
    exit_code = process.finalise()
    assert (exit_code.status, "0 of 3 runs had ended before" in exit_code.message) == (700, True)
    assert process.outputs["energy"].value == search.outputs.energy.value
    assert [row["tried"] for row in process.outputs["summary"]["runs"]] == [8, 0, 0]


def test_stop_reaches_a_search_that_begins_meanwhile(make):
    process = make(runs=2)
    submit = process.submit

    def ask_in_between(*arguments, **inputs):
        process.node.base.extras.set(STOP_EXTRA, True)  # as by somebody who does not see the new search yet
        return submit(*arguments, **inputs)

    process.submit = ask_in_between
    process.submit_searches()
    assert [orm.load_node(s.pk).base.extras.get(STOP_EXTRA) for s in searches(process)] == [True, True]
    for run in range(2):
        end_run(process, run, 700)
    exit_code = process.finalise()
    assert exit_code.status == 700
    assert process.outputs == {}


def test_stop_after_the_end_of_all_changes_nothing(make, search):
    process = make(runs=1)
    process.submit_searches()
    end_run(process, 0, outputs=search)
    process.node.base.extras.set(STOP_EXTRA, True)
    assert process.finalise() is None


def test_failed_run_does_not_spoil_the_others(make, search, finished):
    other = finished()
    process = make(runs=3)
    process.submit_searches()
    end_run(process, 0, outputs=search)
    end_run(process, 1, 301, message="no results")
    end_run(process, 2, outputs=other)
    assert process.finalise() is None
    summary = process.outputs["summary"].get_dict()
    energies = [search.outputs.energy.value, None, other.outputs.energy.value]
    assert [row["energy"] for row in summary["runs"]] == energies
    assert [row["seed"] for row in summary["runs"]] == [SEED, SEED + 1, SEED + 2]
    assert (summary["successful"], summary["lowest"]["energy"]) == (2, min(energies[0], energies[2]))
    lowest = (search, None, other)[summary["lowest"]["run"]]
    assert process.outputs["structure"].uuid == lowest.outputs.structure.uuid


def test_no_run_gives_a_structure(make):
    process = make(runs=2)
    process.submit_searches()
    for run, status in enumerate((301, 401)):
        end_run(process, run, status, message=f"message {run}")
    exit_code = process.finalise()
    assert exit_code.status == 401
    assert "run 0: message 0; run 1: message 1" in exit_code.message
    assert process.outputs == {}


def test_one_run(make, search):
    process = make(runs=1)
    process.submit_searches()
    end_run(process, 0, outputs=search)
    assert process.finalise() is None
    summary = process.outputs["summary"].get_dict()
    assert (summary["spread"], summary["standard_deviation"], summary["hits"]) == (0, None, 1)
