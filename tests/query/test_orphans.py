"""Steps that a kill has left without an end."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState

from aiida_fuse2.query.orphans import ORPHAN, seal_orphans


def called_by(search, label, kind=orm.CalcFunctionNode, **options):
    node = kind(**options)
    link = LinkType.CALL_WORK if kind is orm.WorkChainNode else LinkType.CALL_CALC
    node.base.links.add_incoming(search, link_type=link, link_label=label)
    return node.store()


def test_only_steps_without_an_end_are_sealed(aiida_profile):
    search, other = orm.WorkChainNode().store(), orm.WorkChainNode().store()
    ended, stateless, running = (called_by(search, f"c{i}") for i in range(3))
    ended.set_process_state(ProcessState.FINISHED)
    ended.seal()
    running.set_process_state(ProcessState.RUNNING)
    elsewhere = called_by(other, "c")
    assert sorted(seal_orphans(search)) == sorted([stateless.pk, running.pk])
    for node in (stateless, running):
        again = orm.load_node(node.pk)
        assert again.is_sealed
        assert again.is_excepted
        assert again.exception == ORPHAN
    assert ended.is_finished
    assert not elsewhere.is_sealed
    assert seal_orphans(search) == []


def test_jobs_and_searches_that_a_kill_left_as_they_were_made(aiida_profile, aiida_localhost):
    """One with a checkpoint goes on, or is mended with ``verdi process repair``."""
    runs = orm.WorkChainNode().store()
    search, created, alive = (called_by(runs, f"s{i}", orm.WorkChainNode) for i in range(3))
    job = called_by(runs, "j", orm.CalcJobNode, computer=aiida_localhost)
    created.set_process_state(ProcessState.CREATED)
    alive.set_process_state(ProcessState.CREATED)
    alive.set_checkpoint("a checkpoint")
    assert sorted(seal_orphans(runs)) == sorted([search.pk, created.pk, job.pk])
    assert all(orm.load_node(node.pk).exception == ORPHAN for node in (search, created, job))
    assert not alive.is_sealed


def test_runs_seal_what_a_killed_search_has_left_at_any_depth(aiida_profile, aiida_localhost):
    """But nothing of a search that goes on beside it."""
    runs = orm.WorkChainNode().store()
    killed, alive = (called_by(runs, f"s{i}", orm.WorkChainNode) for i in range(2))
    alive.set_checkpoint("a checkpoint")
    tiers = [called_by(search, "relax", orm.WorkChainNode) for search in (killed, alive)]
    steps = [called_by(node, "next_trials") for node in tiers]
    for node in (tiers[0], killed):
        node.set_process_state(ProcessState.KILLED)
        node.seal()
    assert seal_orphans(runs) == [steps[0].pk]
    assert orm.load_node(steps[0].pk).exception == ORPHAN
    assert not steps[1].is_sealed


def test_job_that_has_ended_but_for_its_seal(aiida_profile, aiida_localhost):
    search = orm.WorkChainNode().store()
    job = called_by(search, "j", orm.CalcJobNode, computer=aiida_localhost)
    job.set_process_state(ProcessState.FINISHED)
    assert seal_orphans(search) == []  # its worker may be about to seal it
    search.set_process_state(ProcessState.KILLED)
    assert seal_orphans(search) == [job.pk]
    assert orm.load_node(job.pk).process_state is ProcessState.FINISHED


def test_archive_of_a_killed_search_can_be_made(aiida_profile, aiida_localhost, tmp_path):
    from aiida.common.exceptions import AiidaException
    from aiida.tools.archive import create_archive

    search = orm.WorkChainNode().store()
    called_by(search, "j", orm.CalcJobNode, computer=aiida_localhost)
    search.set_process_state(ProcessState.KILLED)
    search.seal()
    with pytest.raises(AiidaException, match="sealed"):
        create_archive([search], filename=tmp_path / "a.aiida")
    seal_orphans(search)
    create_archive([search], filename=tmp_path / "a.aiida")
