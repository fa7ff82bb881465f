"""`status` and `doctor`: what they say about searches that end well, hang, or were cut off."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
from aiida import orm
from aiida.brokers.zeromq.queue import PersistentQueue
from aiida.common.links import LinkType

from aiida_fuse2 import diagnosis, query
from aiida_fuse2.diagnosis import Severity


@pytest.fixture
def quiet(monkeypatch):
    """Pretend that daemon and broker are fine and that nothing else hangs."""
    monkeypatch.setattr(diagnosis, "check_daemon", list)
    monkeypatch.setattr(diagnosis, "_without_task", list)
    monkeypatch.setattr(diagnosis, "_paused", list)
    monkeypatch.setattr(diagnosis, "_left_behind", list)


@pytest.fixture
def running(search):
    """A search that runs, as far as the graph can tell; taken away at the end."""
    node = orm.WorkChainNode(process_type=search.process_type)
    node.base.links.add_incoming(search.inputs.settings, LinkType.INPUT_WORK, "settings")
    node.set_process_state("waiting")
    node.set_process_label("Fuse2WorkChain")
    node.store()
    yield node
    node.set_process_state("killed")


def add_call(caller, label, state):
    call = orm.CalcFunctionNode()
    call.base.links.add_incoming(caller, LinkType.CALL_CALC, f"{label}_{state}")
    call.set_process_label(label)
    call.set_process_state(state)
    call.store()
    if state in query.TERMINATED:
        call.seal()
    return call


def test_ended_search_is_listed(call, search, quiet):
    row = json.loads(call("status", search.pk, "--json").stdout)["searches"][0]
    assert (row["pk"], row["structures_tried"], row["max_structures"]) == (search.pk, 8, 8)
    assert row["best"]["energy"] == search.outputs.energy.value
    text = call("status", search.pk).stdout
    assert "finished" in text
    assert "8/8" in text


def test_running_searches_come_first(call, search, running, quiet):
    listed = json.loads(call("status", "--all", "--json").stdout)
    pks = [row["pk"] for row in listed["searches"]]
    assert pks[0] == running.pk
    assert search.pk in pks
    assert listed["problems"] == []
    only = json.loads(call("status", "-n", 0, "--json").stdout)["searches"]
    assert running.pk in {row["pk"] for row in only}
    assert not {row["process_state"] for row in only} & query.TERMINATED


def test_status_names_what_holds_a_search_up(call, running, monkeypatch):
    problem = "the daemon is not running; start it with `verdi daemon start`"
    monkeypatch.setattr(diagnosis, "daemon_problem", lambda: problem)
    monkeypatch.setattr(diagnosis, "_without_task", list)
    text = call("status", running.pk).stdout
    assert "the daemon is not running" in text
    assert diagnosis.start_command() in text


def test_no_search(call):
    result = call("status", 999999, code=1)
    assert "no node '999999'" in result.stderr


def test_paused_process_is_named(running):
    running.pause()
    running.set_process_status("transport task upload has failed 5 times")
    try:
        (finding,) = [f for f in diagnosis.check_processes() if f.search == running.pk and "paused" in f.text]
    finally:
        running.unpause()
    assert finding.severity is Severity.PROBLEM
    assert "has failed 5 times" in finding.text
    assert finding.command.endswith(f"process play {running.pk}")


def test_step_that_was_cut_off_is_named(running, monkeypatch):
    monkeypatch.setattr(diagnosis, "_without_task", list)
    orphan = add_call(running, "decide", "running")
    assert not [f for f in diagnosis.check_processes() if f.search == running.pk]  # it may be at work
    add_call(running, "decide", "finished")
    (note,) = [f for f in diagnosis.check_processes() if f"decide {orphan.pk}" in f.text]
    assert note.severity is Severity.NOTE
    assert "sealed when the search ends" in note.text
    running.set_process_state("killed")
    (finding,) = [f for f in diagnosis.check_processes() if f.search == running.pk]
    assert finding.severity is Severity.PROBLEM
    assert finding.command == "aiida-fuse2 doctor --mend"
    assert str(orphan.pk) in diagnosis.mend()[0].text
    assert not [f for f in diagnosis.check_processes() if f.search == running.pk]
    assert orm.load_node(orphan.pk).is_sealed


def test_job_without_a_state_is_named_and_mended(call, running, monkeypatch, aiida_localhost):
    """A worker was killed as it made the job; only its node was stored."""
    monkeypatch.setattr(diagnosis, "_without_task", list)
    job = orm.CalcJobNode(computer=aiida_localhost)
    job.base.links.add_incoming(running, LinkType.CALL_CALC, "relax_00000_00")
    job.store()
    running.set_process_state("killed")
    (finding,) = [f for f in diagnosis.check_processes() if f.search == running.pk]
    assert (finding.severity, finding.command) == (Severity.PROBLEM, "aiida-fuse2 doctor --mend")
    assert str(job.pk) in call("doctor", "--mend", "--json", code=None).stdout
    assert orm.load_node(job.pk).is_sealed
    assert not [f for f in diagnosis.check_processes() if f.search == running.pk]


def without_task(search):
    """Return what is said about a search that is not in the queue."""
    return [f.text for f in diagnosis.check_processes() if f.search == search.pk]


def test_process_without_a_task_is_named(running, monkeypatch):
    monkeypatch.setattr(diagnosis, "HANDED_OVER", 0)
    monkeypatch.setattr(diagnosis, "_queued_processes", set)
    assert without_task(running) == [f"Fuse2WorkChain {running.pk} is not in the queue of the broker"]
    monkeypatch.setattr(diagnosis, "_queued_processes", lambda: {running.pk})
    assert without_task(running) == []
    monkeypatch.setattr(diagnosis, "_queued_processes", lambda: None)
    assert without_task(running) == []  # it cannot be seen


def test_process_on_its_way_to_the_broker_is_not_named(running, monkeypatch):
    looks = iter([set(), set()])
    monkeypatch.setattr(diagnosis, "LOOK_AGAIN", 0)
    monkeypatch.setattr(diagnosis, "_queued_processes", lambda: next(looks, {running.pk}))
    assert without_task(running) == []


def test_looking_at_the_queue_takes_nothing_from_workers(tmp_path, monkeypatch):
    """A task is lost where the broker does not find it among those that workers hold when one of them dies."""
    folder = SimpleNamespace(filepaths=lambda _: {"broker_service": {"dir": tmp_path}})
    monkeypatch.setattr(diagnosis, "get_config", lambda: folder)
    queue = PersistentQueue(tmp_path / "storage" / "tasks")
    for pk in (11, 12):
        queue.push(f"task{pk}", {"body": {"task": "continue", "args": {"pid": pk}}})
    queue.push("other", {"body": {"task": "launch"}})
    assert queue.pop()[0] == "task11"
    assert diagnosis._tasks_on_disk() == {11, 12}
    assert queue.nack("task11", requeue=True)


@pytest.mark.parametrize(("free", "severity"), [(1e8, Severity.PROBLEM), (1e9, Severity.NOTE), (1e11, Severity.FINE)])
def test_full_disk(aiida_profile, monkeypatch, free, severity):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert {finding.severity for finding in diagnosis.check_disk()} == {severity}


def test_folder_that_cannot_be_written(aiida_profile, monkeypatch):
    def refuse(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(diagnosis.tempfile, "NamedTemporaryFile", refuse)
    found = list(diagnosis.check_disk())
    assert {finding.severity for finding in found} == {Severity.PROBLEM}
    assert "cannot write" in found[0].text


@pytest.fixture
def no_other_code(worker_code):
    """Hide the codes that other tests have left."""
    codes = orm.QueryBuilder().append(orm.InstalledCode, filters={"id": {"!==": worker_code.pk}}).all(flat=True)
    others = [code for code in codes if not code.is_hidden]
    for code in others:
        code.is_hidden = True
    yield
    for code in others:
        code.is_hidden = False


def test_codes(worker_code, no_other_code, aiida_localhost, tmp_path, monkeypatch):
    program = tmp_path / "aiida-fuse2-worker"
    broken = orm.InstalledCode(label="gone", computer=aiida_localhost, filepath_executable=str(program)).store()
    found = {f.text.partition(":")[0]: f for f in diagnosis.check_codes(connect=False)}
    assert found[worker_code.full_label].severity is Severity.FINE
    (gone,) = [f for text, f in found.items() if "gone@" in text]
    assert gone.severity is Severity.NOTE  # another one works
    assert f"code hide {broken.pk}" in gone.command
    monkeypatch.setattr(diagnosis, "worker_software", lambda _: None)
    assert {f.severity for f in diagnosis.check_codes(connect=False)} == {Severity.PROBLEM}
    broken.is_hidden = True
    assert len(diagnosis.check_codes(connect=False)) == 1


def test_doctor(call, quiet, monkeypatch, worker_code):
    good = json.loads(call("doctor", "--json").stdout)
    assert {finding["severity"] for finding in good} <= {"ok", "note"}
    problem = diagnosis.Finding(subject="daemon", severity=Severity.PROBLEM, text="it sleeps", command="wake it")
    monkeypatch.setattr(diagnosis, "check_daemon", lambda: [problem])
    text = call("doctor", code=1).stdout
    assert "problem  daemon: it sleeps" in text
    assert "wake it" in text
