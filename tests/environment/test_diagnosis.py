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

import aiida_fuse2

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
    run("aiida-fuse2 setup -n --no-daemon")
    for option in ("task_retry_initial_interval", "task_maximum_attempts"):
        run(f"verdi config set transport.{option} 1")  # else it takes minutes until AiiDA gives up
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


def await_finding(shell, text):
    """Wait until the doctor says something; a hang is ended by the time-out of the test."""
    while True:
        for finding in findings(shell):
            if text in finding["text"]:
                return finding
        time.sleep(1)


@pytest.fixture
def newer_source():
    """A source file of the package that was written in this moment; as old as before afterwards."""
    path = Path(aiida_fuse2.__file__)
    before = path.stat()
    os.utime(path)
    yield
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.slow
@pytest.mark.daemon
@pytest.mark.timeout(1800)
def test_folder_of_kernels_that_others_can_write_to(tmp_path, monkeypatch):
    from aiida_fuse2.environment.diagnosis import check_kernel
    from aiida_fuse2.environment.findings import Severity

    monkeypatch.setenv("AIIDA_FUSE2_CACHE", str(tmp_path))
    tmp_path.chmod(0o777)
    (found,) = check_kernel()
    assert found.severity is Severity.NOTE
    assert "can be written by others" in found.text
    tmp_path.chmod(0o700)
    monkeypatch.setenv("CXX", "true")
    (found,) = check_kernel()
    assert found.severity is Severity.FINE


def test_daemon_and_workers_that_are_gone(shell):
    assert [f for f in findings(shell) if f["severity"] == "problem"] == []

    shell("verdi daemon stop")
    mend(shell, await_finding(shell, "the daemon is not running"))

    shell("verdi daemon decr 1")
    mend(shell, await_finding(shell, "the daemon runs without a worker"))


@pytest.mark.slow
@pytest.mark.daemon
@pytest.mark.timeout(1800)
def test_broker_and_daemon_of_before(shell, newer_source):
    """One command mends both: the daemon runs old code, and its workers know a broker that is no more."""
    old = await_finding(shell, "the daemon is older than the installed code")
    await_finding(shell, "1 worker connected")
    for broker in processes(shell, "daemon broker"):
        broker.kill()  # the daemon starts a new one, which no worker knows
    lost = await_problem(shell, "broker", "daemon")
    assert old["command"] == lost["command"]
    mend(shell, lost)
    assert not [f for f in findings(shell) if f["text"] == old["text"]]


SEARCH = (
    "aiida-fuse2 run Cu3Au --protocol fast --starts fgen --max-atoms 4 --population 1 --walkers 1 "
    "--max-structures 1 --set relax.settings.calculator=ase.calculators.emt.EMT --no-wait --json"
)


@pytest.mark.slow
@pytest.mark.daemon
@pytest.mark.timeout(1800)
def test_job_that_its_computer_does_not_take(shell):
    """A file is where the folder of the jobs should be, until AiiDA has given up."""
    jobs = shell.folder / ".aiida" / "scratch"
    assert not jobs.exists()
    jobs.touch()
    search = json.loads(shell(SEARCH))["pk"]
    paused = await_finding(shell, "is paused")
    assert paused["search"] == search
    assert "upload" in paused["text"]
    shown = json.loads(shell(f"aiida-fuse2 status {search} --json"))
    told = {f["subject"]: f["command"] for f in shown["problems"]}
    assert told.pop("disk").startswith("ls -ld")  # the file is in the way of the jobs
    assert list(told.values()) == [paused["command"]]
    jobs.unlink()
    mend(shell, paused)
    while json.loads(shell(f"aiida-fuse2 status {search} --json"))["searches"][0]["exit_status"] is None:
        time.sleep(1)
    assert json.loads(shell(f"aiida-fuse2 show {search} --json"))["exit_status"] == 0


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
