"""The doctor against a real daemon: each trouble is caused, named, mended as told, and gone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Runs commands in a profile of its own with a daemon."""
    folder = tmp_path_factory.mktemp("doctor")
    environment = {**os.environ, "AIIDA_PATH": str(folder), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def run(command, code=0):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (command, done.stdout, done.stderr)
        return done.stdout

    run.folder = folder
    run("aiida-fuse2 setup -n")
    yield run
    run("verdi daemon stop")


def findings(shell):
    """Return what the doctor says."""
    return json.loads(shell("aiida-fuse2 doctor --json || true"))


def await_problem(shell, *subjects):
    """Wait until the doctor finds a problem with one of these; a hang is ended by the time-out of the test."""
    while True:
        for finding in findings(shell):
            if finding["severity"] == "problem" and finding["subject"] in subjects:
                return finding
        time.sleep(1)


def mend(shell, finding):
    """Do what the doctor says, and wait until all is well."""
    shell(finding["command"])
    while any(f["severity"] == "problem" for f in findings(shell)):
        time.sleep(1)


def processes(shell, word):
    """Return processes of the profile of this test."""
    found = []
    for process in psutil.process_iter():
        try:
            own = Path(process.environ().get("AIIDA_PATH", "")).is_relative_to(shell.folder)
            if own and word in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
@pytest.mark.daemon
@pytest.mark.timeout(1800)
def test_every_trouble_is_mended_as_told(shell):
    assert [f for f in findings(shell) if f["severity"] == "problem"] == []

    shell("verdi daemon stop")
    mend(shell, await_problem(shell, "daemon"))

    while not any("1 worker connected" in f["text"] for f in findings(shell)):
        time.sleep(1)
    for broker in processes(shell, "daemon broker"):
        broker.kill()  # the daemon starts a new one, which no worker knows
    mend(shell, await_problem(shell, "broker", "daemon"))


@pytest.mark.slow
@pytest.mark.daemon
def test_broken_code_is_named(shell):
    worker = shell.folder / "aiida-fuse2-worker"
    worker.symlink_to(BIN / "aiida-fuse2-worker")
    shell(f"aiida-fuse2 setup -n --code-label mine --worker {worker}")
    worker.unlink()
    found = json.loads(shell("aiida-fuse2 doctor --json"))
    (gone,) = [f for f in found if "mine@localhost" in f["text"]]
    assert gone["severity"] == "note"
    hide = re.search(r"verdi .*code hide \d+", gone["command"])[0]
    shell(hide)
    assert "mine@localhost" not in shell("aiida-fuse2 doctor")
