"""Files are safe from the broker on a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from aiida_fuse2.environment import diagnosis, findings
from aiida_fuse2.environment.daemon import ensure_daemon, start_command
from aiida_fuse2.storage import broker


@pytest.fixture
def sockets_file(aiida_profile, monkeypatch, tmp_path):
    """The file of a broker that does not run."""
    path = tmp_path / "broker.sockets"
    monkeypatch.setattr(broker, "broker_layout", lambda: SimpleNamespace(sockets_file=path))
    return path


@pytest.mark.parametrize(("content", "empty"), [("", True), ("\n", True), ("/run/sockets", False), (None, False)])
def test_empty_file(sockets_file, content, empty):
    if content is not None:
        sockets_file.write_text(content)
    assert broker.empty_sockets_file() == (sockets_file if empty else None)
    assert broker.remove_empty_sockets_file() == (sockets_file if empty else None)
    assert sockets_file.exists() is (content is not None and not empty)


def test_doctor_tells_of_it_first(sockets_file, monkeypatch):
    monkeypatch.setattr(diagnosis, "daemon_problem", lambda: "the daemon is not running; start it with `verdi`")
    sockets_file.write_text("")
    first, second = diagnosis.check_daemon()
    assert (first.subject, first.severity) == ("broker", findings.Severity.PROBLEM)
    assert "deletes the files" in first.text
    assert second.subject == "daemon"
    subprocess.run(["bash", "-c", first.command], check=True)
    assert not sockets_file.exists()


def test_broker_that_starts_afterwards_deletes_nothing(sockets_file, tmp_path):
    """It is AiiDA's own, started as the daemon does it."""
    working = tmp_path / "working"
    working.mkdir()
    (working / "valuable.txt").write_text("must stay")
    sockets_file.write_text("")
    broker.remove_empty_sockets_file()
    command = [sys.executable, "-m", "aiida.brokers.zeromq.service", "--service-dir", str(tmp_path)]
    with subprocess.Popen(command, cwd=working, stderr=subprocess.DEVNULL) as process:
        while not sockets_file.exists():
            assert process.poll() is None
        process.kill()  # it may be too young to end on a signal
    assert (working / "valuable.txt").read_text() == "must stay"


def test_daemon_is_started_where_nothing_is(aiida_profile, monkeypatch):
    seen = []

    class Client:
        def start_daemon(self, number_workers):
            seen.append((Path.cwd(), list(Path.cwd().iterdir()), number_workers))

    before = Path.cwd()
    monkeypatch.setattr("aiida_fuse2.environment.daemon.get_daemon_client", Client)
    monkeypatch.setattr("aiida_fuse2.environment.daemon._responds", lambda _: False)
    monkeypatch.setattr("aiida_fuse2.environment.daemon.BROKER_TIMEOUT", 0)
    assert ensure_daemon(2).changed
    assert seen == [(broker.harmless_folder(), [], 2)]
    assert Path.cwd() == before
    assert start_command(2) == (f"(cd {broker.harmless_folder()} && verdi -p {aiida_profile.name} daemon start 2)")


def test_setup_waits_for_the_broker_of_a_daemon_that_it_starts(aiida_profile, monkeypatch, tmp_path):
    """Otherwise the next command finds none: on a busy machine the broker comes seconds after the daemon."""
    status, answers = tmp_path / "broker.status", [{"connected": True}, {"connected": False}, {"connected": False}]

    class Client:
        def start_daemon(self, number_workers):  # noqa: ARG002
            status.touch()

    monkeypatch.setattr("aiida_fuse2.environment.daemon.get_daemon_client", Client)
    monkeypatch.setattr("aiida_fuse2.environment.daemon._responds", lambda _: False)
    monkeypatch.setattr("aiida_fuse2.environment.daemon.BROKER_POLL", 0)
    layout = SimpleNamespace(status_file=status)
    monkeypatch.setattr("aiida_fuse2.environment.daemon.broker_layout", lambda: layout)
    broker_process = type(broker.get_manager().get_broker())
    monkeypatch.setattr(broker_process, "probe_service_status", lambda _: answers.pop())
    assert ensure_daemon(1).changed
    assert answers == []


def test_doctor_tells_where_files_are_in_danger(aiida_profile, monkeypatch, tmp_path):
    broker_process = type(broker.get_manager().get_broker())
    monkeypatch.setattr(broker_process, "probe_service_status", lambda _: {"pid": 1})
    monkeypatch.setattr(broker.psutil, "Process", lambda _: SimpleNamespace(cwd=lambda: str(tmp_path)))
    assert list(diagnosis._check_folder()) == []
    (tmp_path / "valuable.txt").touch()
    (finding,) = diagnosis._check_folder()
    assert finding.severity is findings.Severity.NOTE
    assert str(tmp_path) in finding.text
    assert finding.command.endswith(start_command())
