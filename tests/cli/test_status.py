"""`status` and `doctor`: what they say about searches that end well, hang, or were cut off."""

from __future__ import annotations

import io
import json
import logging
import math
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import psutil
import pytest
from aiida import orm
from aiida.brokers.zeromq.queue import PersistentQueue
from aiida.brokers.zeromq.service import ZeromqBrokerService
from aiida.common.links import LinkType
from aiida.engine.daemon.client import DaemonClient
from aiida.manage.configuration.settings import AiiDAConfigPathResolver
from rich.console import Console
from sqlalchemy import event
from sqlalchemy.engine import Engine

from aiida_fuse2 import query
from aiida_fuse2.cli.commands.status import Row, status_table
from aiida_fuse2.cli.views.details import details, learned_table
from aiida_fuse2.core.search.policy import Arm, Learned
from aiida_fuse2.core.search.watching import Watch
from aiida_fuse2.environment import diagnosis, findings, processes
from aiida_fuse2.environment.findings import Severity
from aiida_fuse2.parsers.memory import code_part, remember
from aiida_fuse2.query.chain import generation_records


@pytest.fixture
def quiet(monkeypatch):
    """Pretend that daemon and broker are fine and that nothing else hangs."""
    monkeypatch.setattr(diagnosis, "check_daemon", list)
    monkeypatch.setattr("aiida_fuse2.environment.processes._without_task", list)
    monkeypatch.setattr("aiida_fuse2.environment.processes._paused", list)
    monkeypatch.setattr("aiida_fuse2.environment.processes._left_behind", list)


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


def add_call(caller, label, state, *, inputs=None, name=None):
    call = orm.CalcFunctionNode()
    for link, node in (inputs or {}).items():
        call.base.links.add_incoming(node, LinkType.INPUT_CALC, link)
    call.base.links.add_incoming(caller, LinkType.CALL_CALC, name or f"{label}_{state}")
    call.set_process_label(label)
    call.set_process_state(state)
    call.store()
    if state in query.TERMINATED and name is None:
        call.seal()
    return call


def test_ended_search_is_listed(call, search, quiet):
    row = json.loads(call("status", search.pk, "--json").stdout)["searches"][0]
    assert (row["pk"], row["structures_tried"], row["max_structures"]) == (search.pk, 8, 8)
    assert row["best"]["energy"] == search.outputs.energy.value
    text = call("status", search.pk).stdout
    assert "finished" in text
    assert "8/8" in text


def test_what_a_policy_has_learned_is_a_table():
    arms = {"generator": {"fgen": Arm(20, 5, 10), "": Arm(1, 0, 0)}, "size": {"10": Arm(3, 1, 6), "2": Arm(8, 2, 4)}}
    console = Console(width=100, file=io.StringIO())
    console.print(learned_table(Learned(arms)))
    rows = [line.split() for line in console.file.getvalue().splitlines()[1:]]
    assert rows[-4:] == [
        ["generator", "pool", "1", "0.0"],
        ["fgen", "20", "5.0", "0.50"],
        ["size", "2", "8", "2.0", "0.50"],
        ["10", "3", "1.0", "0.17"],
    ]


def test_named_search_is_told_in_full(call, search, quiet):
    (row,) = json.loads(call("status", search.pk, "--json").stdout)["searches"]
    state = search.outputs.state
    assert [walker["temperature"] for walker in row["walkers"]] == [
        walker["thermostat"]["temperature"] for walker in state["walkers"]
    ]
    by_label = {found["label"]: found for found in query.explored(search).to_dict("records")}
    for walker, now in zip(state["walkers"], row["walkers"], strict=True):
        assert (now["energy"], now["accepted"]) == (walker["energy"], walker["accepted"])
        assert now["spacegroup"] == by_label[walker["current"]]["spacegroup_loose"]
    shown = {move["name"].partition(" ")[0]: [move["trials"], move["accepted"]] for move in row["moves"]}
    shown = {name: counts for name, counts in shown.items() if name not in {"rattled", "new"}}
    assert list(shown.items()) == sorted(state["moves"].items(), key=lambda item: int(item[0]))
    assert row["failures"] == state["failures"]
    assert row["learned"] == state["learned"]["arms"] == {}
    assert row["per_cpu_hour"] == pytest.approx(3600 * 8 / state["cpu_seconds"])
    assert row["seconds_left"] is None
    assert row["evidence"] == query.evidence(search.pk).values()
    text = call("status", search.pk).stdout
    for part in ("new lowest", "per CPU hour", "downhill", row["moves"][0]["name"], "8 of 8 tried", "Best found by"):
        assert part in text
    both = json.loads(call("status", search.pk, search.pk, "--json").stdout)["searches"]
    assert "walkers" not in both[0]


def test_time_left(search, search_settings):
    reached = replace(query.progress(search.pk), process_state="waiting", rate=3600.0, elapsed=100.0)
    state = replace(reached.state, tried=20, since_best=5, cpu_seconds=200.0)
    reached = replace(reached, state=state)

    def left(**limits):
        return reached.seconds_left(search_settings("Cu3Au", **{"max_structures": 60, "rmax": 1000, **limits}))

    assert left() == pytest.approx(40)
    assert left(rmax=15) == pytest.approx(10)
    assert left(max_cpu_hours=250 / 3600) == pytest.approx(5)
    assert left(max_wall_hours=103 / 3600) == pytest.approx(3)
    assert left(max_wall_hours=50 / 3600) == 0
    found = details(reached, search_settings("Cu3Au", max_structures=60))
    assert (found.per_cpu_hour, found.cpu_seconds_left) == (360, 400)


def test_list_has_the_chance_of_a_lower_structure(search, search_settings):
    settings, reached = search_settings("Cu3Au", max_atoms=8), query.progress(search.pk)

    def shown(watch):
        row = Row(settings=settings, reached=reached, state=replace(reached.state, watch=watch))
        console = Console(file=io.StringIO(), width=120)
        console.print(status_table([row]))
        return row.values()["chance"], console.file.getvalue()

    chance, text = shown(Watch(1, 20, {1: 3, 2: 3}))
    assert chance == pytest.approx(math.log(40) / 20)
    assert "< 18 %" in text
    assert shown(Watch(1, 20, {1: 3, 2: 2}))[0] is None


def test_watch_shows_until_all_has_ended(call, running, search, quiet, monkeypatch):
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            running.set_process_state("killed")

    monkeypatch.setattr("aiida_fuse2.cli.commands.status.time", SimpleNamespace(sleep=sleep))
    text = call("status", running.pk, "--watch", "--interval", 7).stdout
    assert naps == [7.0, 7.0, 7.0]
    shown = [line for line in text.splitlines() if line.split()[:2] == [str(running.pk), "Cu3Au"]]
    assert len(shown) == 2  # as it ran, and as it ended
    assert "killed" in shown[1]
    assert "finished" in call("status", search.pk, "-w").stdout
    assert len(naps) == 3
    call("status", "--watch", "--json", code=2)


def test_watch_in_a_terminal(call, running, quiet, monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr("aiida_fuse2.cli.views.tables.make_console", lambda: console)

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("aiida_fuse2.cli.commands.status.time", SimpleNamespace(sleep=interrupt))
    gone = {"subject": "daemon", "text": "it is not running", "command": "verdi daemon start"}
    monkeypatch.setattr(diagnosis, "check_daemon", lambda: [findings.Finding(severity=Severity.PROBLEM, **gone)])
    call("status", running.pk, "--watch")
    assert str(running.pk) in screen.getvalue()
    assert "verdi daemon start" in screen.getvalue()


@pytest.mark.slow
def test_status_of_ten_thousand_structures(call, search, running, quiet):
    """Records with all that those of a search have, of 40 generations."""
    first = generation_records(search.pk)[0]
    row = {name: values[0] for name, values in first.columns.items()}
    state = first.state_values
    before = orm.Dict(state).store()
    for generation in range(40):
        rows = [{**row, "label": f"g{generation:05d}_w{i:03d}_t000", "generation": generation} for i in range(250)]
        decide = add_call(running, "decide", "finished", inputs={"state": before}, name=f"d{generation}")
        before = orm.Dict({**state, "generation": generation + 1, "tried": 250 * (generation + 1)})
        record = orm.Dict({name: [r[name] for r in rows] for name in row})
        for name, node in (("state", before), ("record", record)):
            node.base.links.add_incoming(decide, LinkType.CREATE, name)
            node.store()
        decide.seal()
    with counted_statements() as statements:
        (shown,) = json.loads(call("status", running.pk, "--json").stdout)["searches"]
    assert shown["structures_tried"] == 10_000
    assert sum(move["trials"] for move in shown["moves"]) == 9750
    assert 0 < len(statements) < 3 * 41  # a few for each generation at most, none for a structure


@contextmanager
def counted_statements():
    """Collect what is asked of the database meanwhile."""
    statements = []

    def note(_, __, statement, *___):
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


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
    monkeypatch.setattr("aiida_fuse2.environment.processes._without_task", list)
    text = call("status", running.pk).stdout
    assert "the daemon is not running" in text
    assert diagnosis.start_command() in text


@pytest.mark.parametrize("process_type", [query.PROCESS_TYPE, query.RUNS_PROCESS_TYPE])
def test_search_that_was_cut_off_while_it_was_made(call, search, quiet, process_type):
    """A kill then leaves a node without inputs: not listed, never the newest, and named as what it is."""
    bare = orm.WorkChainNode(process_type=process_type).store()
    bare.set_process_state("killed")
    listed = json.loads(call("status", "--all", "--json").stdout)
    assert bare.pk not in {row["pk"] for kind in ("searches", "runs") for row in listed[kind]}
    assert query.load_search_or_runs().pk != bare.pk
    refused = call("status", bare.pk, code=1)
    assert "has no settings in this profile" in refused.stderr


def test_no_search(call):
    result = call("status", 999999, code=1)
    assert "no node '999999'" in result.stderr


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ([], "there is no search in this profile yet; start one with `aiida-fuse2 run`"),
        ([1], "nothing runs; 1 search has ended (`aiida-fuse2 status -a` lists it)"),
        ([1, 2], "nothing runs; 2 searches have ended (`aiida-fuse2 status -a` lists them)"),
    ],
)
def test_nothing_to_list(call, monkeypatch, ended, said):
    monkeypatch.setattr(query, "listed", lambda: ([], ended))
    for options in ((), ("--watch",)):
        assert " ".join(call("status", "-n", 0, *options).stdout.split()) == said


def test_worker_that_survives_its_daemon_is_named(aiida_profile, monkeypatch):
    """Processes that end in `daemon worker`, and have asked for the profile as AiiDA's own do, without a daemon."""
    folder = AiiDAConfigPathResolver().access_control_dir / aiida_profile.name
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    with (
        subprocess.Popen([*sleep, "daemon", "worker"]) as worker,
        subprocess.Popen([*sleep, "daemon", "worker"]) as other,
        subprocess.Popen([*sleep, "something", "else"]) as program,
    ):
        files = [folder / f"{process.pid}.pid" for process in (worker, program)]
        try:
            for path in files:
                path.write_text(str(psutil.Process(int(path.stem)).cmdline()))
            assert _surviving() == {worker.pid: f"kill {worker.pid}"}
            assert f"kill {worker.pid}" in [finding.command for finding in diagnosis.check_daemon()]
            (gone := folder / f"{other.pid}.pid").write_text("another command, whose number this now is")
            files.append(gone)
            assert list(_surviving()) == [worker.pid]
            monkeypatch.setattr(DaemonClient, "get_daemon_pid", lambda _: os.getpid())  # its parent is the daemon
            assert worker.pid not in _surviving()  # a daemon that other tests have left running may have workers, too
        finally:
            for path in files:
                path.unlink()
            for process in (worker, other, program):
                process.kill()


def _surviving():
    """Return the command against each worker that survives its daemon, by its number."""
    found = list(diagnosis._surviving_workers())
    assert all(f.severity is Severity.PROBLEM and "daemon that is no more" in f.text for f in found)
    return {int(f.command.split()[1]): f.command for f in found}


@pytest.mark.parametrize(
    ("status", "unseen", "worker_age", "named"),
    [
        ("Monitoring scheduler: job state RUNNING", 600, 900, True),
        ("Monitoring scheduler: job state RUNNING", 60, 900, False),
        ("Monitoring scheduler: job state RUNNING", 600, 10, False),  # the daemon has just begun to look
        ("Waiting for transport task: retrieve", 600, 900, False),
        ("Paused through `verdi process pause`", 600, 900, False),
    ],
)
def test_job_that_is_not_looked_at_any_more(  # noqa: PLR0917 - parameters
    running, monkeypatch, aiida_localhost, status, unseen, worker_age, named
):
    looked = (
        datetime.now(tz=UTC) - timedelta(seconds=unseen + aiida_localhost.get_minimum_job_poll_interval())
    ).isoformat()
    job = orm.CalcJobNode(computer=aiida_localhost, process_type="aiida.calculations:fuse2.relax")
    job.base.links.add_incoming(running, LinkType.CALL_CALC, "unseen")
    job.set_process_state("waiting")
    job.set_process_label("RelaxCalculation")
    job.set_process_status(status)
    job.base.attributes.set(job.SCHEDULER_LAST_CHECK_TIME_KEY, looked)
    job.store()
    monkeypatch.setattr(processes, "workers_of", lambda _: [SimpleNamespace(pid=1)])
    monkeypatch.setattr(processes, "process_start", lambda _: time.time() - worker_age)
    monkeypatch.setattr("aiida_fuse2.environment.processes._without_task", list)
    found = [
        f for f in processes.check_processes() if f.text.startswith(f"RelaxCalculation {job.pk} was last looked at")
    ]
    job.set_process_state("killed")
    assert [(f.severity, f.search) for f in found] == ([(Severity.PROBLEM, running.pk)] if named else [])
    assert all(f.command.endswith("daemon restart") for f in found)


def test_paused_process_is_named(running, monkeypatch):
    monkeypatch.setattr("aiida_fuse2.environment.processes._without_task", list)
    running.pause()
    running.set_process_status("transport task upload has failed 5 times")
    try:
        (finding,) = [f for f in processes.check_processes() if f.search == running.pk and "paused" in f.text]
    finally:
        running.unpause()
    assert finding.severity is Severity.PROBLEM
    assert "has failed 5 times" in finding.text
    assert finding.command.endswith(f"process play {running.pk}")


def test_step_that_was_cut_off_is_named(running, monkeypatch):
    monkeypatch.setattr("aiida_fuse2.environment.processes._without_task", list)
    orphan = add_call(running, "decide", "running")
    assert not [f for f in processes.check_processes() if f.search == running.pk]  # it may be at work
    add_call(running, "decide", "finished")
    (note,) = [f for f in processes.check_processes() if f"decide {orphan.pk}" in f.text]
    assert note.severity is Severity.NOTE
    assert "sealed when the search ends" in note.text
    running.set_process_state("killed")
    (finding,) = [f for f in processes.check_processes() if f.search == running.pk]
    assert finding.severity is Severity.PROBLEM
    assert finding.command == "aiida-fuse2 doctor --mend"
    assert any(str(orphan.pk) in done.text for done in processes.mend())  # other tests leave orphans, too
    assert not [f for f in processes.check_processes() if f.search == running.pk]
    assert orm.load_node(orphan.pk).is_sealed


def test_job_without_a_state_is_named_and_mended(call, running, monkeypatch, aiida_localhost):
    """A worker was killed as it made the job; only its node was stored."""
    monkeypatch.setattr("aiida_fuse2.environment.processes._without_task", list)
    monkeypatch.setattr(diagnosis, "worker_software", lambda _: {})  # takes a second for each code of other tests
    job = orm.CalcJobNode(computer=aiida_localhost)
    job.base.links.add_incoming(running, LinkType.CALL_CALC, "relax_00000_00")
    job.store()
    running.set_process_state("killed")
    (finding,) = [f for f in processes.check_processes() if f.search == running.pk]
    assert (finding.severity, finding.command) == (Severity.PROBLEM, "aiida-fuse2 doctor --mend")
    assert str(job.pk) in call("doctor", "--mend", "--json", code=None).stdout
    assert orm.load_node(job.pk).is_sealed
    assert not [f for f in processes.check_processes() if f.search == running.pk]


def without_task(search):
    """Return what is said about a search that is not in the queue."""
    return [f.text for f in processes.check_processes() if f.search == search.pk]


def test_process_without_a_task_is_named(running, monkeypatch):
    monkeypatch.setattr("aiida_fuse2.environment.processes.HANDED_OVER", 0)
    monkeypatch.setattr("aiida_fuse2.environment.processes._queued_processes", set)
    assert without_task(running) == [f"Fuse2WorkChain {running.pk} is not in the queue of the broker"]
    monkeypatch.setattr("aiida_fuse2.environment.processes._queued_processes", lambda: {running.pk})
    assert without_task(running) == []
    monkeypatch.setattr("aiida_fuse2.environment.processes._queued_processes", lambda: None)
    assert without_task(running) == []  # it cannot be seen


def test_process_on_its_way_to_the_broker_is_not_named(running, monkeypatch):
    looks, everything = iter([set(), set()]), range(running.pk + 1)
    monkeypatch.setattr("aiida_fuse2.environment.processes.LOOK_AGAIN", 0)
    monkeypatch.setattr("aiida_fuse2.environment.processes._queued_processes", lambda: next(looks, everything))
    assert without_task(running) == []


def test_looking_at_the_queue_takes_nothing_from_workers(tmp_path, monkeypatch):
    """A task is lost where the broker does not find it among those that workers hold when one of them dies."""
    layout = ZeromqBrokerService.FilepathLayout(tmp_path)
    monkeypatch.setattr(processes, "broker_layout", lambda: layout)
    queue = PersistentQueue(tmp_path / "storage" / "tasks")
    for pk in (11, 12):
        queue.push(f"task{pk}", {"body": {"task": "continue", "args": {"pid": pk}}})
    queue.push("other", {"body": {"task": "launch"}})
    assert queue.pop()[0] == "task11"
    assert processes._tasks_on_disk() == {11, 12}
    assert queue.nack("task11", requeue=True)


@pytest.mark.parametrize(
    ("born", "subscribers", "expected"),
    [
        (0, 2, (Severity.FINE, "2 workers connected")),
        (0, 1, (Severity.NOTE, "1 of 2 workers were just started")),
        (-1000, 1, (Severity.PROBLEM, "1 of 2 workers are not connected")),
        (5, 0, (Severity.PROBLEM, "2 of 2 workers are not connected")),
        (5, 2, (Severity.PROBLEM, "2 of 2 workers are not connected")),  # it counts some that are dead
        (None, 2, (Severity.NOTE, "just started")),
    ],
)
def test_workers_that_the_broker_does_not_know(aiida_profile, monkeypatch, born, subscribers, expected):
    """The broker was started ``born`` seconds after the workers, or both long ago where that is negative."""
    broker = object.__new__(diagnosis.ZeromqBroker)
    monkeypatch.setattr(broker, "probe_service_status", lambda: {"pid": 1, "task_subscribers": subscribers})
    monkeypatch.setattr(diagnosis, "get_manager", lambda: SimpleNamespace(get_broker=lambda: broker))
    long_ago = born is not None and born < 0
    now = time.time() - (2 * diagnosis.STARTUP if long_ago else 0)
    monkeypatch.setattr(diagnosis, "process_start", lambda _: None if born is None else now + max(born, 0))
    monkeypatch.setattr(diagnosis, "verdi", str)
    found = diagnosis._check_broker([now, now])
    assert found.severity is expected[0]
    assert expected[1] in found.text


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


def test_code_that_does_not_start(worker_code, no_other_code, aiida_localhost, tmp_path):
    """It is there, but something that it needs is not."""
    program = tmp_path / "aiida-fuse2-worker"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    broken = orm.InstalledCode(label="broken", computer=aiida_localhost, filepath_executable=str(program)).store()
    remember([code_part(broken)])  # it has run here
    (found,) = [f for f in diagnosis.check_codes(connect=False) if broken.full_label in f.text]
    assert found.severity is Severity.NOTE  # another one works
    assert "does not start on its computer" in found.text
    assert f"computer test {aiida_localhost.label}" in found.command
    worker_code.is_hidden = True
    try:
        (found,) = diagnosis.check_codes(connect=False)
        assert found.severity is Severity.PROBLEM
    finally:
        worker_code.is_hidden, broken.is_hidden = False, True


def test_doctor(call, quiet, monkeypatch, worker_code, no_other_code):
    good = json.loads(call("doctor", "--json").stdout)
    assert {finding["severity"] for finding in good} <= {"ok", "note"}
    problem = findings.Finding(subject="daemon", severity=Severity.PROBLEM, text="it sleeps", command="wake it")

    def check():
        logging.getLogger("aiida.brokers").warning("Failed to probe")
        return [problem]

    monkeypatch.setattr(diagnosis, "check_daemon", check)
    told = call("doctor", "--json", code=1)
    assert problem.text in {finding["text"] for finding in json.loads(told.stdout)}
    assert "Failed to probe" in told.stderr
    text = call("doctor", code=1).stdout
    assert "problem  daemon: it sleeps" in text
    assert "wake it" in text
