"""Steps that a kill has left without an end."""

from __future__ import annotations

from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState

from aiida_fuse2.workchains.orphans import ORPHAN, seal_orphans


def called_by(search, label):
    node = orm.CalcFunctionNode()
    node.base.links.add_incoming(search, link_type=LinkType.CALL_CALC, link_label=label)
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
