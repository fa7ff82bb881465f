"""Damaged, locked and unreachable profiles: one clear line, for every command."""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError, PendingRollbackError, ProgrammingError

from aiida_fuse2.cli.utils.troubles import trouble_text
from tests.test_bad_input import is_one_line

DRIVER = """
import json, os, sys
from pathlib import Path
from aiida.manage.configuration.settings import AiiDAConfigDir
from aiida_fuse2.environment import diagnosis
from aiida_fuse2.launch import search
from aiida_fuse2.cli import cmd_root

children = {}
for folder, arguments in json.load(sys.stdin):
    pid = os.fork()
    if pid == 0:
        sys.stderr = Path(folder, "stderr").open("w")
        sys.stdout = Path(folder, "stdout").open("w")
        AiiDAConfigDir.set(Path(folder, ".aiida"))
        cmd_root.main(arguments)
    children[pid] = folder
codes = {children[pid]: os.waitstatus_to_exitcode(status) for pid, status in (os.wait() for _ in children)}
print(json.dumps(codes))
"""
"""Calls commands side by side, each in a folder of its own, from one process that has loaded all that is slow."""


def run(calls):
    """Return exit code and standard error of each command, by the folder of its profile."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps([(str(folder), arguments) for folder, arguments in calls.items()]),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    codes = json.loads(done.stdout.splitlines()[-1])
    return {folder: (codes[str(folder)], (folder / "stderr").read_text()) for folder in calls}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A profile of its own, with the storage and the configuration of which copies are spoilt."""
    folder = tmp_path_factory.mktemp("made")
    assert run({folder: ["setup", "-n", "--no-daemon"]})[folder][0] == 0
    return folder


@pytest.fixture
def copy(made, tmp_path):
    """A function that returns a copy of that profile."""

    def make(name):
        folder = tmp_path / name
        shutil.copytree(made, folder)
        config = folder / ".aiida" / "config.json"
        config.write_text(config.read_text().replace(str(made), str(folder)))
        return folder

    return make


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


SPOILT = {
    damage: "the database of the profile is damaged",
    no_database: "the database of the profile is damaged",
    old_schema: "verdi -p fuse2 storage migrate",
    gone: "No such file or directory",
    held: "is being locked",
    broken_configuration: "invalid JSON",
    other_configuration: "is not what AiiDA writes",
    no_server: "Could not connect to database",
}


@pytest.mark.slow
def test_spoilt_profiles(copy):
    folders = {spoil: copy(spoil.__name__) for spoil in SPOILT}
    for spoil, folder in folders.items():
        spoil(folder)
    done = run({folder: ["status"] for folder in folders.values()})
    for spoil, said in SPOILT.items():
        code, error = done[folders[spoil]]
        assert code == 1
        assert error.startswith("Error: ")
        assert is_one_line(error.strip())
        assert said in error


@pytest.mark.slow
def test_locked_database(copy):
    commands = ["status", "doctor", "run Cu", "show 1", "setup -n --no-daemon", "model list"]
    folders = {copy(f"locked{number}"): command.split() for number, command in enumerate(commands)}
    with ExitStack() as stack:
        for folder in folders:
            connection = stack.enter_context(closing(sqlite3.connect(database(folder), isolation_level=None)))
            connection.execute("BEGIN EXCLUSIVE")
        done = run(folders)
    for folder, (code, error) in done.items():
        assert code == 1
        assert is_one_line(error.strip())
        assert "the database of the profile is locked: another program holds it" in error
        assert str(database(folder).parent) in error


@pytest.mark.slow
def test_output_that_nobody_reads(made):
    command = f"AIIDA_PATH={made} {Path(sys.executable).with_name('aiida-fuse2')} doctor | true"
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
