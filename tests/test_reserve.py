"""Space that is set aside and given back, and what a failure for a full disk leaves behind."""

from __future__ import annotations

import errno
import sqlite3
import threading
from pathlib import Path

import pytest
from aiida import orm
from aiida.manage import get_manager
from sqlalchemy.exc import OperationalError, PendingRollbackError

from aiida_fuse2 import reserve
from aiida_fuse2.disk import is_disk_full
from aiida_fuse2.reserve import FOLDER, LEAST_LEFT, Reserve, Watch

MB = 10**6


@pytest.fixture
def held(tmp_path):
    """A reserve of 1 MB that is held."""
    found = Reserve(paths=(tmp_path / FOLDER / "search",), size=MB)
    assert found.hold()
    return found


def test_space_is_taken_and_given_back(held):
    (path,) = held.paths
    assert path.stat().st_blocks * 512 >= MB
    assert held.is_held
    held.give_back()
    assert not path.exists()
    assert not held.is_held
    held.give_back()


def test_space_is_taken_where_a_system_cannot_set_it_aside(tmp_path, monkeypatch):
    monkeypatch.delattr("os.posix_fallocate")
    found = Reserve(paths=(tmp_path / FOLDER / "search",), size=MB + 1)
    assert found.hold()
    assert found.paths[0].stat().st_size == MB + 1


def test_more_than_there_is_leaves_nothing_behind(tmp_path):
    found = Reserve(paths=(tmp_path / FOLDER / "search",), size=10**18)
    assert not found.hold()
    assert not found.paths[0].exists()


def test_one_file_on_each_disk(aiida_profile, monkeypatch, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(reserve, "data_folders", lambda: {"a": tmp_path / "a", "b": tmp_path / "b"})
    assert len(Reserve.of("search", 0.001).paths) == 1
    assert Reserve.of("search", 0.0015).size == 1_500_000


@pytest.mark.parametrize(("left", "needed"), [(LEAST_LEFT * MB - 1, True), (LEAST_LEFT * MB, False)])
def test_needed_when_little_is_left(held, monkeypatch, left, needed):
    monkeypatch.setattr(reserve, "_left", lambda _: left)
    assert held.is_needed is needed


def test_folder_that_is_gone_needs_nothing(tmp_path):
    assert not Reserve(paths=(tmp_path / "gone" / "search",), size=MB).is_needed


def test_watch_gives_back_and_tells_once(aiida_profile, held, monkeypatch):
    watch, told = Watch(), threading.Event()
    counts = []
    watch.add("search", held, lambda: (counts.append(1), told.set()))
    assert not told.wait(2 * reserve.LOOK)
    monkeypatch.setattr(reserve, "_left", lambda _: 0)
    assert told.wait(10)
    assert not held.is_held
    watch.look()
    assert counts == [1]
    watch.remove("search")
    watch._thread.join(10)
    assert watch._thread is None


def test_disk_is_looked_at_before_anything_is_stored(aiida_profile, held, monkeypatch):
    watch, told = Watch(), []
    monkeypatch.setattr(Watch, "_look_at_times", lambda _: None)
    watch.add("search", held, lambda: told.append(1))
    orm.Int(1).store()
    assert told == []
    monkeypatch.setattr(reserve, "_left", lambda _: 0)
    orm.Int(2).store()
    assert told == [1]
    watch.remove("search")


def test_all_is_given_back_where_storing_has_failed(aiida_profile, held):
    """A quota does not show as free space."""
    watch, told = Watch(), []
    watch.add("search", held, lambda: told.append(1))
    watch.give_back_all()
    assert (held.is_held, told) == (False, [1])
    watch.remove("search")


def test_watch_keeps_the_broker_from_deleting_files(aiida_profile, held, tmp_path):
    """Also when the reserve is spent: the disk may be full again."""
    watch, sockets_file = Watch(), tmp_path / "broker.sockets"
    watch.add("search", held, lambda: None)
    watch._sockets_file = sockets_file
    sockets_file.write_text("/tmp/somewhere")  # noqa: S108 - only read
    watch._look_once()
    assert sockets_file.exists()
    sockets_file.write_text("")
    watch._look_once()
    assert not sockets_file.exists()
    watch.remove("search")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.ENOENT, "No such file"), False),
        (OperationalError("UPDATE", {}, sqlite3.OperationalError("database or disk is full")), True),
        (OperationalError("UPDATE", {}, sqlite3.OperationalError("database is locked")), False),
        (PendingRollbackError("Original exception was: (sqlite3.OperationalError) database or disk is full"), True),
        (ValueError("disk is full"), False),
    ],
)
def test_errors_of_a_full_disk(error, expected):
    assert is_disk_full(error) is expected
    wrapped = RuntimeError("a step failed")
    wrapped.__cause__ = error
    assert is_disk_full(wrapped) is expected


def test_session_can_store_again_after_a_failure(aiida_profile):
    """As a failure in the middle of storing leaves it."""
    session = get_manager().get_profile_storage().get_session()
    session.rollback()
    nested = session.begin_nested()
    session.add(orm.Int(1).backend_entity.bare_model)
    nested._state = type(nested._state).DEACTIVE
    assert not session.is_active
    reserve.roll_back()
    assert session.is_active
    assert orm.Int(2).store().is_stored


def test_reserves_lie_where_aiida_stores(aiida_profile):
    (path,) = Reserve.of("search", 0.001).paths
    folder = Path(aiida_profile.storage_config.get("filepath", path.parents[2]))
    assert path.parts[-3:] == (FOLDER, aiida_profile.uuid, "search")
    assert path.parents[2].stat().st_dev == folder.stat().st_dev
