"""Damaged, locked and unreachable profiles: one clear line, for every command."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError, PendingRollbackError, ProgrammingError

from aiida_fuse2.cli.troubles import trouble_text
from tests.test_bad_input import is_one_line

COMMAND = Path(sys.executable).with_name("aiida-fuse2")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A profile of its own, with the storage and the configuration of which copies are spoilt."""
    folder = tmp_path_factory.mktemp("made")
    done = run(folder, "setup", "-n", "--no-daemon")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def copy(made, tmp_path):
    """A copy of that profile."""
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    config = folder / ".aiida" / "config.json"
    config.write_text(config.read_text().replace(str(made), str(folder)))
    return folder


def run(folder, *arguments):
    """Call the command in the profile of a folder."""
    environment = {**os.environ, "AIIDA_PATH": str(folder)}
    return subprocess.run([COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False)


def database(folder):
    (path,) = (folder / ".aiida" / "repository").glob("*/database.sqlite")
    return path


def configure(folder, change):
    path = folder / ".aiida" / "config.json"
    values = json.loads(path.read_text())
    change(values["profiles"]["fuse2"])
    path.write_text(json.dumps(values))


def damage(folder):
    with database(folder).open("r+b") as stream:
        stream.seek(2000)
        stream.write(bytes(range(256)) * 20)


def no_database(folder):
    database(folder).write_text("nothing that SQLite knows, and long enough for a header")


def old_schema(folder):
    with closing(sqlite3.connect(database(folder))) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'main_0000'")
        connection.commit()


def gone(folder):
    shutil.rmtree(folder / ".aiida" / "repository")


def held(folder):
    (folder / ".aiida" / "access" / "fuse2" / "1.lock").touch()


def broken_configuration(folder):
    (folder / ".aiida" / "config.json").write_text('{"profiles": ')


def other_configuration(folder):
    (folder / ".aiida" / "config.json").write_text("[]")


def no_server(folder):
    config = {
        "database_hostname": "127.0.0.1",
        "database_port": 1,
        "database_username": "nobody",
        "database_password": "nothing",
        "database_name": "none",
        "repository_uri": (folder / "files").as_uri(),
    }
    configure(folder, lambda profile: profile.update(storage={"backend": "core.psql_dos", "config": config}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (damage, "the database of the profile is damaged"),
        (no_database, "the database of the profile is damaged"),
        (old_schema, "verdi -p fuse2 storage migrate"),
        (gone, "No such file or directory"),
        (held, "is being locked"),
        (broken_configuration, "invalid JSON"),
        (other_configuration, "is not what AiiDA writes"),
        (no_server, "Could not connect to database"),
    ],
)
def test_spoilt_profile(copy, spoil, said):
    spoil(copy)
    done = run(copy, "status")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert is_one_line(done.stderr.strip())
    assert said in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [("status",), ("doctor",), ("run", "Cu"), ("show", "1"), ("setup", "-n")])
def test_locked_database(copy, command):
    with closing(sqlite3.connect(database(copy), isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        done = run(copy, *command)
    assert done.returncode == 1
    assert is_one_line(done.stderr.strip())
    assert "the database of the profile is locked: another program holds it" in done.stderr
    assert str(database(copy).parent) in done.stderr


@pytest.mark.slow
def test_output_that_nobody_reads(made):
    command = f"AIIDA_PATH={made} {COMMAND} status --help | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def of_sqlalchemy(kind, said):
    return kind("SELECT 1", {}, sqlite3.OperationalError(said))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (of_sqlalchemy(OperationalError, "database table is locked"), "is locked: another program"),
        (PendingRollbackError("(sqlite3.OperationalError) database is locked"), "is locked: another program"),
        (of_sqlalchemy(OperationalError, "attempt to write a readonly database"), "cannot be written"),
        (of_sqlalchemy(OperationalError, "unable to open database file"), "cannot be opened"),
        (of_sqlalchemy(DatabaseError, "database disk image is malformed"), "is damaged"),
        (of_sqlalchemy(OperationalError, "database or disk is full"), "no space is left on the disk"),
        (of_sqlalchemy(OperationalError, "server closed\nthe connection"), "cannot be used: server closed the connect"),
        (of_sqlalchemy(InterfaceError, "connection already closed"), "cannot be used: connection already closed"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "cannot use /data/x: Permission denied"),
        (OSError(errno.EROFS, "Read-only file system", "/data/x"), "cannot use /data/x: Read-only file system"),
    ],
)
def test_troubles_are_named(aiida_profile, error, said):
    assert said in trouble_text(error)


@pytest.mark.parametrize(
    "error",
    [
        of_sqlalchemy(ProgrammingError, "no such column"),
        FileNotFoundError(errno.ENOENT, "No such file", "/x"),
        ValueError("x"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
    ],
)
def test_what_may_be_a_fault_of_ours_is_none(aiida_profile, error):
    assert trouble_text(error) is None
