"""Processes that will not advance by themselves, and the commands that help."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeVar

from aiida import orm
from aiida.brokers.zeromq.broker import ZeromqBroker
from aiida.common.exceptions import AiidaException
from aiida.engine.daemon.client import get_daemon_client
from aiida.engine.processes.control import get_process_tasks
from aiida.manage import get_manager

from aiida_fuse2.query import PROCESS_TYPE, RUNS_PROCESS_TYPE, TERMINATED
from aiida_fuse2.query.hangs import late_jobs, slow_searches
from aiida_fuse2.query.loading import with_callers
from aiida_fuse2.query.orphans import Orphan, orphans_below, seal_orphans
from aiida_fuse2.query.refinements import KINDS
from aiida_fuse2.storage.broker import broker_layout

from .daemon import process_start, start_command, workers_of
from .findings import Finding, Severity, fine, note, problem, verdi

UNSEEN = 120
"""Time beyond the interval of its computer for which a job may be unchecked, s; two attempts of AiiDA failed then."""


MONITORING = "Monitoring scheduler"
"""Beginning of the status of a job that AiiDA monitors."""


HANDED_OVER = 5
"""Time that a new process may be unknown to the broker, s; much shorter on an idle machine."""


LOOK_AGAIN = 0.5
"""Time between two checks of processes that the broker does not know, s."""


T = TypeVar("T")


def check_processes() -> list[Finding]:
    """Find processes that will not advance by themselves."""
    found = [*_paused(), *_unseen(), *_left_behind(), *_outliving(), *_without_task(), *_hanging()]
    if found:
        return found
    active = orm.QueryBuilder().append(orm.WorkChainNode, filters={"process_type": PROCESS_TYPE, **_active()}).count()
    return [fine("processes", f"{active} active search{'' if active == 1 else 'es'}, nothing hangs")]


def _active() -> dict[str, dict[str, list[str]]]:
    return {"attributes.process_state": {"!in": sorted(TERMINATED)}}


def _paused() -> Iterator[Finding]:
    builder = orm.QueryBuilder()
    filters = {"attributes.paused": True, **_active()}
    builder.append(orm.ProcessNode, filters=filters, project=["id", "attributes.process_label", "attributes"])
    for pk, label, attributes in builder.all():
        reason = attributes.get("process_status")
        text = f"{label} {pk} is paused" + (f": {reason}" if reason else "")
        yield problem("process", text, verdi(f"process play {pk}"), _search_of(pk))


def _unseen() -> Iterator[Finding]:
    """Find jobs that AiiDA does not monitor any more.

    AiiDA tries again five times in five minutes, and then pauses the job. If a job was paused during a
    request, no attempt succeeds: AiiDA 2.9 keeps the request that the pause has cancelled, and makes no other one.
    """
    workers = [process_start(process.pid) or 0.0 for process in workers_of(get_manager().get_profile())]
    if not workers or time.time() - max(workers) < UNSEEN:
        return  # reported with the daemon; or monitoring has just begun
    builder = orm.QueryBuilder()
    job = ["id", "attributes.process_label", f"attributes.{orm.CalcJobNode.SCHEDULER_LAST_CHECK_TIME_KEY}"]
    filters = {
        "attributes.process_status": {"like": f"{MONITORING}%"},
        **_active(),
    }  # the status of a paused one is different
    builder.append(orm.CalcJobNode, filters=filters, project=job, tag="job")
    builder.append(orm.Computer, with_node="job", project="*")
    for pk, label, looked, computer in builder.all():
        since = None if looked is None else datetime.fromisoformat(looked).astimezone()
        if since is None or time.time() - since.timestamp() < UNSEEN + computer.get_minimum_job_poll_interval():
            continue
        text = (
            f"{label} {pk} was last looked at {since:%F %R}: {computer.label} cannot be reached, or the job was paused "
            "and continued; AiiDA may end up pausing it"
        )
        yield problem("process", text, verdi("daemon restart"), _search_of(pk))


def _hanging() -> Iterator[Finding]:
    """Find jobs past their wall time, and searches that stand still."""
    late = list(late_jobs())
    for hang in late:
        yield problem("process", hang.text, verdi(f"process kill {hang.pk}"), _search_of(hang.pk))
    named = {_search_of(hang.pk) for hang in late}
    for hang in slow_searches():
        if hang.pk not in named:
            command = f"process status {hang.pk}" if hang.job is None else f"process kill {hang.job}"
            yield problem("search", hang.text, verdi(command), hang.pk)


def _left_behind() -> Iterator[Finding]:
    """Find processes that a kill cut off: their step ran again, and they never end."""
    types = [PROCESS_TYPE, RUNS_PROCESS_TYPE, *KINDS]
    found: dict[int, Orphan] = {}
    for orphan in orphans_below({"process_type": {"in": types}}):
        found.setdefault(orphan.pk, orphan)  # the finding of the search comes before that of its runs
    for pk, orphan in found.items():
        kind = KINDS.get(orphan.top_type or "", "search")
        text = f"{orphan.label or 'a step'} {pk} of {kind} {orphan.top} was cut off by a kill and done again"
        if orphan.top_state in TERMINATED:
            text += f"; it keeps the {kind} from being exported"
            yield problem("process", text, "aiida-fuse2 doctor --mend", orphan.top)
        elif _has_called_since(pk):
            yield note("process", f"{text}; it is sealed when the {kind} ends")


def _outliving() -> Iterator[Finding]:
    """Find processes that wait or run although their caller has ended."""
    found = _lasting(_called_by_ended)
    for pk, (label, caller, kind) in found.items():
        top = _search_of(pk)
        if top is None:
            continue  # not of this package
        if kind == PROCESS_TYPE:
            yield note(
                "process", f"search {pk} still runs although runs {caller} have ended", f"aiida-fuse2 stop {caller}"
            )
            continue
        text = f"{label} {pk} waits or runs although its caller {caller} has ended"
        yield problem("process", text, verdi(f"process kill {pk}"), top)


def _called_by_ended() -> dict[int, tuple[str, int, str | None]]:
    """Return label, caller and identifier of active processes whose caller has ended, by primary key."""
    builder = orm.QueryBuilder()
    project = ["id", "attributes.process_label", "process_type"]
    filters = {**_active(), "attributes": {"has_key": "checkpoints"}}  # one without a caller is found as left behind
    builder.append(orm.ProcessNode, filters=filters, project=project, tag="called")
    ended = {"attributes.process_state": {"in": sorted(TERMINATED)}}
    builder.append(orm.WorkChainNode, with_outgoing="called", filters=ended, project="id")
    return {pk: (label, caller, kind) for pk, label, kind, caller in builder.all()}


def mend() -> list[Finding]:
    """Seal unfinished processes that kills have left behind in ended searches; return a text for each."""
    ended = {finding.search for finding in _left_behind() if finding.severity is Severity.PROBLEM}
    done = []
    for pk in sorted(search for search in ended if search is not None):
        sealed = ", ".join(str(orphan) for orphan in seal_orphans(orm.load_node(pk)))
        done.append(fine("process", f"sealed what a kill had left behind in search {pk}: {sealed}"))
    return done


def _has_called_since(pk: int) -> bool:
    """Return whether the caller of a process has ended, or has called another one after it."""
    caller = orm.load_node(pk).caller
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": caller.pk}, tag="caller")
    builder.append(orm.ProcessNode, filters={"id": {">": pk}}, with_incoming="caller")
    return bool(caller.is_terminated) or builder.count() > 0


def _without_task() -> Iterator[Finding]:
    """Find processes that no worker will ever run, since the broker does not know them."""
    lost = _lasting(_lost_processes)
    mend = f"{verdi('daemon stop')}; {verdi('process repair')}; {start_command()}"
    for pk, label in lost.items():
        yield problem("process", f"{label} {pk} is not in the queue of the broker", mend, _search_of(pk))


def _lasting(look: Callable[[], dict[int, T]]) -> dict[int, T]:
    """Return the processes that a check finds repeatedly for some time.

    A new process may not have reached the broker yet, and one whose search has just ended may be ending.
    """
    found = look()
    end = time.monotonic() + HANDED_OVER
    while found and time.monotonic() < end:
        time.sleep(LOOK_AGAIN)
        still = look()
        found = {pk: known for pk, known in found.items() if pk in still}
    return found


def _lost_processes() -> dict[int, str]:
    """Return labels of active processes without a task at this moment, by primary key."""
    builder = orm.QueryBuilder()
    filters = {"attributes.process_state": {"in": ["created", "waiting", "running"]}}
    builder.append(orm.ProcessNode, filters=filters, project=["id", "attributes.process_label", "node_type"])
    active = {pk: label for pk, label, kind in builder.all() if "CalcFunction" not in kind}
    queued = _queued_processes() if active else None
    return {} if queued is None else {pk: label for pk, label in active.items() if pk not in queued}


def _queued_processes() -> set[int] | None:
    """Return the processes that the broker has a task for, or None if this cannot be read now.

    The files of the ZeroMQ broker are only read. AiiDA's ``get_process_tasks`` opens its queue as the broker does when
    it starts, and takes back the tasks that workers hold: a task whose worker died later would be lost. RabbitMQ does
    not show the tasks that workers hold, so there is an answer only while none runs.
    """
    broker = get_manager().get_broker()
    if isinstance(broker, ZeromqBroker):
        return _tasks_on_disk()
    if broker is None or get_daemon_client().is_daemon_running:
        return None
    try:
        return set(get_process_tasks(broker))
    except (AiidaException, OSError):
        return None  # reported with the broker


def _tasks_on_disk() -> set[int]:
    """Return the processes in the queue of the ZeroMQ broker, whether they wait or a worker has them."""
    queue = broker_layout().storage_path / "tasks"
    found = set()
    for path in [*queue.glob("pending/*.json"), *queue.glob("processing/*.json")]:
        try:
            found.add(int(json.loads(path.read_text())["body"]["args"]["pid"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # taken or finished at this moment, or not a task of a process
    return found


def _search_of(pk: int) -> int | None:
    """Return the search, the runs, the refinement or the finish that a process belongs to, itself included."""
    types = {PROCESS_TYPE, RUNS_PROCESS_TYPE, *KINDS}
    return next((int(node.pk) for node in with_callers(orm.load_node(pk)) if node.process_type in types), None)
