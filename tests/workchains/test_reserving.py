"""Searches under which the disk runs full: they end, and go on later. With a real one: ``tests/faults``."""

from __future__ import annotations

import errno
import sqlite3
import sys
from uuid import uuid4

import pytest
from aiida import orm
from aiida.engine import ProcessState, run_get_node
from sqlalchemy.exc import OperationalError

from aiida_fuse2 import continuation, query, reserve
from aiida_fuse2.reserve import WATCH, Reserve
from aiida_fuse2.workchains.reserving import SPENT, remove_left_over
from aiida_fuse2.workchains.search import Fuse2WorkChain
from tests.workchains.comparing import comparable, rows_of

_WHOLE: dict[str, int] = {}

SEARCH = sys.modules[Fuse2WorkChain.__module__]


@pytest.fixture
def whole(emt_builder):
    """A search that nothing disturbs; made once for several tests."""
    if "pk" not in _WHOLE:
        _, node = run_get_node(emt_builder())
        _WHOLE["pk"] = node.pk
    return orm.load_node(_WHOLE["pk"])


def reserve_of(search):
    return Reserve.of(search.uuid, gigabytes=0.001)


def before_call(monkeypatch, owner, name, number, do):
    """Do something before a function is called for the n-th time; the steps of an outline cannot be changed."""
    original, calls = getattr(owner, name), []

    def changed(*arguments, **named):
        calls.append(name)
        if len(calls) == number:
            do(*arguments)
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, changed)


@pytest.mark.parametrize(("size", "is_held"), [(0.001, True), (0, False)])
def test_space_is_held_while_a_search_runs(emt_builder, monkeypatch, size, is_held):
    seen = []
    look = lambda search, *_: seen.append(reserve_of(search.node).is_held)  # noqa: E731
    before_call(monkeypatch, Fuse2WorkChain, "_submit_relaxation", 1, look)
    _, search = run_get_node(emt_builder(max_structures=4, disk_reserve=size))
    assert search.is_finished_ok
    assert seen == [is_held]
    assert not reserve_of(search).is_held
    assert search.uuid not in WATCH._searches


def test_none_is_held_where_there_is_no_room_for_it(emt_builder, monkeypatch):
    monkeypatch.setattr(Reserve, "hold", lambda _: False)
    _, search = run_get_node(emt_builder(max_structures=4))
    assert search.is_finished_ok


def test_a_disk_that_runs_full_ends_a_search_that_goes_on_later(emt_builder, whole, monkeypatch):
    """In the middle of a generation; its job is killed."""
    fill = lambda *_: monkeypatch.setattr(reserve, "_left", lambda _: 0)  # noqa: E731
    before_call(monkeypatch, Fuse2WorkChain, "_submit_relaxation", 2, fill)
    _, search = run_get_node(emt_builder())
    assert search.exit_status == 303
    assert search.exit_message == f"{SPENT}; make room, then continue"
    assert all(node.is_sealed for node in [search, *search.called_descendants])
    assert query.progress(search.pk).tried == 4
    monkeypatch.undo()
    _, longer = run_get_node(continuation.prepare_continuation(search).builder)
    assert comparable(rows_of(longer)) == comparable(rows_of(whole))


@pytest.mark.parametrize(("call", "status"), [(("decide", 2), 303), (("summarise", 1), 0)])
def test_a_step_that_meets_a_full_disk_is_made_again(emt_builder, whole, monkeypatch, call, status):
    """What was set aside is given back then; a search that is at its end anyway ends well."""

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before_call(monkeypatch, SEARCH, *call, fail)
    _, search = run_get_node(emt_builder())
    assert search.exit_status == status
    assert all(node.is_sealed for node in [search, *search.called_descendants])
    rows = comparable(rows_of(search))
    assert rows == comparable(rows_of(whole))[: len(rows)]
    assert len(rows) >= 4


def test_other_errors_of_steps_are_not_taken_for_a_full_disk(emt_builder, monkeypatch):
    def fail(*_):
        raise OSError(errno.EACCES, "Permission denied")

    before_call(monkeypatch, SEARCH, "propose", 1, fail)
    builder = emt_builder()
    with pytest.raises(OSError, match="Permission denied"):
        run_get_node(builder)


@pytest.mark.parametrize("kind", [orm.CalcJobNode, orm.WorkChainNode])
def test_a_process_whose_state_cannot_be_stored_ends(emt_builder, monkeypatch, kind):
    """The state of the search itself, or of its job."""
    original, pending = orm.ProcessNode.set_process_state, [True]

    def fail_once(self, state):
        if pending and isinstance(self, kind) and state is ProcessState.WAITING:
            pending.clear()
            raise OperationalError("UPDATE", {}, sqlite3.OperationalError("database or disk is full"))
        original(self, state)

    monkeypatch.setattr(orm.ProcessNode, "set_process_state", fail_once)
    builder = emt_builder(max_structures=4)
    try:
        _, search = run_get_node(builder)
    except OperationalError:
        search = query.load_search()
    failed = search if kind is orm.WorkChainNode else next(n for n in search.called if isinstance(n, orm.CalcJobNode))
    assert failed.is_excepted
    assert failed.is_sealed
    assert "database or disk is full" in failed.exception
    assert search.exit_status == (303 if kind is orm.CalcJobNode else None)


def test_files_of_searches_that_are_over_are_removed(aiida_profile, tmp_path):
    alive, over = orm.WorkChainNode().store(), orm.WorkChainNode().store()
    alive.set_process_state(ProcessState.RUNNING)
    over.set_process_state(ProcessState.KILLED)
    for name in (alive.uuid, over.uuid, uuid4()):
        (tmp_path / str(name)).touch()
    remove_left_over([tmp_path, tmp_path / "none"])
    assert [path.name for path in tmp_path.iterdir()] == [alive.uuid]
