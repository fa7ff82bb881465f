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

from aiida_fuse2.diagnosis import STARTUP

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
            timeout=120,
            check=False,
        )
        assert done.returncode == code, (command, done.stdout, done.stderr)
        return done.stdout

    run.folder = folder
    run("aiida-fuse2 setup -n")
    yield run
    run("verdi daemon stop")


def problems(shell, code=1):
    """Return the problems that the doctor finds by subject."""
    found = json.loads(shell("aiida-fuse2 doctor --json", code=code))
    return {f["subject"]: f for f in found if f["severity"] == "problem"}


def mend(shell, finding):
    """Do what the doctor says, and see that all is well."""
    shell(finding["command"])
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = json.loads(shell("aiida-fuse2 doctor --json || true"))
        if all(f["severity"] != "problem" for f in found):
            return
        time.sleep(1)
    raise AssertionError(found)


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
def test_every_trouble_is_mended_as_told(shell):
    assert problems(shell, code=0) == {}

    shell("verdi daemon stop")
    mend(shell, problems(shell)["daemon"])

    time.sleep(STARTUP)  # a worker that was just started may not be connected yet
    for broker in processes(shell, "daemon broker"):
        broker.kill()
    time.sleep(5)  # the daemon starts a new one, which no worker knows
    found = problems(shell)
    mend(shell, found.get("broker") or found["daemon"])


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
