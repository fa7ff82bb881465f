"""A PostgreSQL server for tests: a cluster in a temporary folder, on a free port of the loopback interface."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs of each version, outside the PATH."""

SERVER_USER = "postgres"
"""Whom the server runs as where the tests run as root: PostgreSQL refuses root."""

DATABASE_USER = "aiida"

HOST = "127.0.0.1"

START_SECONDS = 30
"""How long the server may take to answer, s."""


def programs() -> Path | None:
    """Return the folder of ``initdb`` and ``postgres``, the newest version first, or None."""
    versions = [path for path in DEBIAN.glob("*/bin") if path.parent.name.isdigit()]
    found = sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    return next((path for path in found if (path / "initdb").exists() and (path / "postgres").exists()), None)


def problem() -> str | None:
    """Return why no server can be started here, or None."""
    if programs() is None:
        return "no PostgreSQL server is installed (Debian: apt-get install postgresql)"
    if os.geteuid() == 0 and SERVER_USER not in {entry.pw_name for entry in pwd.getpwall()}:
        return f"PostgreSQL refuses to run as root, and there is no user {SERVER_USER!r}"
    return None


def _identity() -> dict[str, Any]:
    """Return whom the programs of the server run as, as arguments of ``subprocess``."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(SERVER_USER)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


def _initialise(folder: Path, password: str) -> None:
    """Make a cluster that asks everybody for the password."""
    secret = folder / "password"
    secret.write_text(password)
    identity = _identity()
    if identity:
        for path in (folder, secret):
            os.chown(path, identity["user"], identity["group"])
    options = ["--username", DATABASE_USER, "--pwfile", secret, "--auth", "scram-sha-256"]
    options += ["--encoding", "UTF8", "--no-locale", "--no-sync"]
    command = [programs() / "initdb", "--pgdata", folder / "data", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **identity)


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a server that listens on the loopback interface alone, and ends where the tests are killed."""
    options = {"listen_addresses": HOST, "port": port, "unix_socket_directories": "", "fsync": "off"}
    arguments = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
    end_with_parent = ["setpriv", "--pdeathsig", "INT"] if shutil.which("setpriv") else []
    command = [*end_with_parent, programs() / "postgres", "-D", folder / "data", *arguments]
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, **_identity())


def _create_database(server: subprocess.Popen[bytes], folder: Path, port: int, password: str) -> str:
    """Make a database as soon as the server answers; return its name."""
    name = "fuse2_tests"
    command = [programs() / "createdb", "-h", HOST, "-p", str(port), "-U", DATABASE_USER, name]
    end = time.monotonic() + START_SECONDS
    while True:
        environment = {**os.environ, "PGPASSWORD": password}
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return name
        if server.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"no PostgreSQL server: {done.stderr}\n{(folder / 'server.log').read_text()}")
        time.sleep(0.1)


@contextmanager
def database() -> Iterator[dict[str, Any]]:
    """Run a server; yield what AiiDA's storage ``core.psql_dos`` needs to know of a new database in it.

    The server and all its data are gone afterwards.
    """
    folder = Path(tempfile.mkdtemp(prefix="fuse2-postgres-"))
    password, port = secrets.token_hex(16), _free_port()
    server = None
    try:
        _initialise(folder, password)
        server = _start(folder, port)
        yield {
            "database_engine": "postgresql_psycopg",
            "database_hostname": HOST,
            "database_port": port,
            "database_username": DATABASE_USER,
            "database_password": password,
            "database_name": _create_database(server, folder, port, password),
        }
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)  # closes connections that are left open
            server.wait(timeout=START_SECONDS)
        shutil.rmtree(folder)
