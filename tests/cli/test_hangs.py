"""Jobs past their wall time and searches that stand still are named; times are those of a later clock."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta

import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_fuse2.environment import diagnosis, processes
from aiida_fuse2.environment.findings import Severity
from aiida_fuse2.query import hangs


@pytest.fixture
def later(monkeypatch):
    """Put the clock forward by hours."""

    def put(hours):
        class Later(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz=tz) + timedelta(hours=hours)

        monkeypatch.setattr(hangs, "datetime", Later)

    return put


@pytest.fixture
def running(search, monkeypatch):
    """A search that has decided on three generations in no time, as far as the graph can tell."""
    for check in ("_without_task", "_paused", "_left_behind"):
        monkeypatch.setattr(processes, check, list)
    monkeypatch.setattr(diagnosis, "check_daemon", list)
    node = orm.WorkChainNode(process_type=search.process_type)
    node.base.links.add_incoming(search.inputs.settings, LinkType.INPUT_WORK, "settings")
    node.set_process_state("waiting")
    node.store()
    for number in range(3):
        call = orm.CalcFunctionNode()
        call.base.links.add_incoming(node, LinkType.CALL_CALC, f"decide_{number}")
        call.set_process_label("decide")
        call.set_process_state("finished")
        call.store()
    yield node
    for one in [node, *node.called_descendants]:
        one.set_process_state("killed")


def add_job(search, computer, *, state="running", seconds=3600, pid=None, kind="relax"):
    job = orm.CalcJobNode(computer=computer, process_type=f"aiida.calculations:fuse2.{kind}")
    job.base.links.add_incoming(search, LinkType.CALL_CALC, "relax_00003_00")
    job.set_process_label("RelaxCalculation")
    job.set_process_state("waiting")
    for name, value in {"scheduler_state": state, "max_wallclock_seconds": seconds, "job_id": str(pid)}.items():
        job.base.attributes.set(name, value)
    return job.store()


@pytest.fixture
def just_started():
    """The number of a process that began now."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def findings_of(search):
    return [finding for finding in processes.check_processes() if finding.search == search.pk]


def test_job_past_its_wall_time_is_named(call, running, later, aiida_localhost, just_started):
    job = add_job(running, aiida_localhost, pid=just_started)
    later(0.9)
    assert list(hangs.late_jobs()) == []
    later(30)
    (finding,) = findings_of(running)
    assert (finding.subject, finding.severity) == ("process", Severity.PROBLEM)
    assert (
        f"RelaxCalculation {job.pk} has been at work for 1 d 6 h, longer than its max_wallclock_seconds" in finding.text
    )
    assert finding.command.endswith(f"process kill {job.pk}")
    shown = json.loads(call("status", running.pk, "--json").stdout)["problems"]
    assert finding.text in {problem["text"] for problem in shown}


@pytest.mark.parametrize(("told", "n_late"), [(None, 0), (3500, 0), (9000, 1)])
def test_time_of_a_job_of_a_scheduler_is_what_that_tells(running, later, aiida_computer, told, n_late):
    """It may have waited long before."""
    computer = aiida_computer(label=f"slurm-{told}", scheduler_type="core.slurm")
    job = add_job(running, computer)
    job.base.attributes.set("last_job_info", {"wallclock_time_seconds": told})
    later(30)
    assert len([hang for hang in hangs.late_jobs() if hang.pk == job.pk]) == n_late


def test_search_that_stands_still_is_named(call, running, later, aiida_localhost, just_started):
    later(0)
    assert findings_of(running) == []
    later(5)
    (finding,) = findings_of(running)
    assert (finding.subject, finding.severity) == ("search", Severity.PROBLEM)
    assert f"search {running.pk} has decided on no generation for 5 h" in finding.text
    assert finding.command.endswith(f"process status {running.pk}")
    job = add_job(running, aiida_localhost, seconds=None, pid=just_started)
    (finding,) = findings_of(running)
    assert f"RelaxCalculation {job.pk} may hang" in finding.text
    assert finding.command.endswith(f"process kill {job.pk}")
    assert finding.text in call("doctor", "--json", code=None).stdout


@pytest.mark.parametrize("how", ["paused", "queued", "pool"])
def test_search_that_waits_for_something_else_is_not(running, later, aiida_localhost, how, just_started):
    kind = "generate" if how == "pool" else "relax"
    state = "queued" if how == "queued" else "running"
    add_job(running, aiida_localhost, state=state, seconds=None, pid=just_started, kind=kind)
    if how == "paused":
        running.pause()
    later(5)
    assert findings_of(running) == []
    running.unpause()
