"""What keeps searches from advancing, and the command that mends it."""

from __future__ import annotations

import json
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import psutil
from aiida import orm
from aiida.brokers.zeromq.broker import ZeromqBroker
from aiida.common.exceptions import AiidaException
from aiida.engine.daemon.client import DaemonException, get_daemon_client
from aiida.engine.processes.control import get_process_tasks
from aiida.manage import get_manager
from aiida.manage.configuration import Profile
from aiida.manage.configuration.settings import AiiDAConfigPathResolver

import aiida_fuse2
from aiida_fuse2.core.potentials.chgnet.build import CACHE_VARIABLE, best_instruction_set, library_problem
from aiida_fuse2.query import PROCESS_TYPE, RUNS_PROCESS_TYPE, TERMINATED
from aiida_fuse2.query.hangs import late_jobs, slow_searches
from aiida_fuse2.query.loading import with_callers
from aiida_fuse2.query.orphans import Orphan, orphans_below, seal_orphans
from aiida_fuse2.query.refinements import PROCESS_TYPE as REFINE_PROCESS_TYPE
from aiida_fuse2.storage.broker import broker_layout, empty_sockets_file, exposed_folder
from aiida_fuse2.storage.disk import data_folders, existing, free_space, job_folders

from .codes import WORKER, calculator_problem, code_problem
from .daemon import broker_problem, daemon_problem, start_command
from .software import worker_software
from .trust import own_code

DISK_FULL = 200e6
"""Free space below which a search is about to fail, bytes."""

DISK_LOW = 2e9
"""Free space below which the user is told, bytes; 10,000 explored structures take about 0.5 GB."""

STARTUP = 60
"""How long a worker may take to connect to the broker, s; two on an idle machine."""

SAME_START = 1
"""Broker and workers that were started within this time were started together, s."""

UNSEEN = 120
"""How much longer than its computer asks for a job may not be looked at, s; two attempts of AiiDA have failed then."""

MONITORING = "Monitoring scheduler"
"""Beginning of what AiiDA says of a job that it looks at."""

WORKER_ARGUMENTS = ["daemon", "worker"]
"""With these AiiDA starts a worker of its daemon."""

HANDED_OVER = 5
"""How long a process that was just submitted may be unknown to the broker, s; on an idle machine it is a moment."""

LOOK_AGAIN = 0.5
"""Time between two looks at processes that the broker does not know, s."""


T = TypeVar("T")


class Severity(StrEnum):
    """How much a finding matters."""

    FINE = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: profile, disk, daemon, broker, code, process or search.
        severity: whether the user has to do something.
        text: what was found, for people.
        command: what mends it, or None.
        search: primary key of the search (runs, refinement) that it holds up, or None where it concerns all or none.
    """

    subject: str
    severity: Severity
    text: str
    command: str | None = None
    search: int | None = None


def _fine(subject: str, text: str) -> Finding:
    return Finding(subject=subject, severity=Severity.FINE, text=text)


def _note(subject: str, text: str, command: str | None = None) -> Finding:
    return Finding(subject=subject, severity=Severity.NOTE, text=text, command=command)


def _problem(subject: str, text: str, command: str | None, search: int | None = None) -> Finding:
    return Finding(subject=subject, severity=Severity.PROBLEM, text=text, command=command, search=search)


def _verdi(command: str) -> str:
    return f"verdi -p {get_manager().get_profile().name} {command}"


def examine(*, connect: bool = False) -> list[Finding]:
    """Look at everything that a search in the loaded profile depends on.

    Args:
        connect: whether to connect to the computers of codes that are not this machine.
    """
    return [*check_disk(), *check_daemon(), *check_codes(connect=connect), *check_kernel(), *check_processes()]


# --- disk ---------------------------------------------------------------------------------------


def check_disk() -> Iterator[Finding]:
    """Look at the free space where data lies and where jobs of this machine run, and try to write there."""
    for name, folder in {**data_folders(), **job_folders()}.items():
        free, place = free_space(folder), existing(folder)
        text = f"{free / 1e9:.1f} GB free for {name} ({folder})"
        mend = "free some space; searches that have failed go on with `aiida-fuse2 continue PK`"
        if free < DISK_FULL:
            yield _problem("disk", text, mend)
        elif not _can_write(place):
            yield _problem("disk", f"cannot write for {name} in {place}", f"ls -ld {place}; quota -s")
        elif free < DISK_LOW:
            yield _note("disk", text, mend)
        else:
            yield _fine("disk", text)


def _can_write(folder: Path) -> bool:
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as stream:
            stream.write(bytes(4096))
            stream.flush()
    except OSError:
        return False
    return True


# --- daemon and broker --------------------------------------------------------------------------


def check_daemon() -> Iterator[Finding]:
    """Look at daemon and broker: both are needed for anything to advance."""
    without_broker = broker_problem()
    if without_broker is not None:
        yield _problem("broker", *without_broker)
        return
    yield from _check_sockets_file()
    yield from _surviving_workers()
    problem = daemon_problem()
    if problem is not None:
        text, _, command = problem.partition("; ")
        is_broker = "broker" in text
        restart = _verdi("daemon restart") if is_broker else start_command()
        yield _problem("broker" if is_broker else "daemon", text, restart if "`" in command else command or restart)
        return
    try:
        workers = get_daemon_client().get_worker_info().get("info", {})
    except DaemonException as error:
        yield _problem("daemon", f"the daemon does not answer ({error})", _verdi("daemon restart"))
        return
    if not workers:
        yield _problem("daemon", "the daemon runs without a worker", _verdi("daemon incr 1"))
        return
    started = [time_ for pid in workers if (time_ := _process_start(int(pid))) is not None]
    if started and min(started) < _newest_source():
        text = "the daemon is older than the installed code of aiida-fuse2, and runs the code that it was started with"
        yield _note("daemon", text, _verdi("daemon restart"))
    else:
        yield _fine("daemon", f"running with {len(workers)} worker{'' if len(workers) == 1 else 's'}")
    yield _check_broker(started)
    yield from _check_folder()


def _surviving_workers() -> Iterator[Finding]:
    """Look for workers whose daemon has ended without them: they go on beside those of the next one."""
    profile, daemon = get_manager().get_profile(), get_daemon_client().get_daemon_pid()
    for process in _workers_of(profile):
        try:
            parent = process.ppid()
            started = datetime.fromtimestamp(process.create_time(), tz=UTC).astimezone()
        except psutil.Error:  # it has just ended
            continue
        if parent != daemon:
            text = f"a worker of a daemon that is no more still runs (pid {process.pid}, since {started:%F %R})"
            yield _problem("daemon", text, f"kill {process.pid}")


def _workers_of(profile: Profile) -> list[psutil.Process]:
    """Return the processes of this machine that are workers of a profile; AiiDA keeps a file for each that uses it."""
    found = []
    for path in (AiiDAConfigPathResolver().access_control_dir / profile.name).glob("*.pid"):
        try:
            process = psutil.Process(int(path.stem))
            if process.cmdline()[-2:] == WORKER_ARGUMENTS and path.read_text() == str(process.cmdline()):
                found.append(process)
        except (psutil.Error, OSError, ValueError):
            continue  # it has ended, or the number is now that of a process of somebody else
    return found


def _check_sockets_file() -> Iterator[Finding]:
    """Look for what makes the broker delete files when it starts (``broker``)."""
    path = empty_sockets_file()
    if path is not None:
        text = f"{path} was written empty on a full disk: a broker that starts now deletes the files in its folder"
        yield _problem("broker", text, f"rm -f {shlex.quote(str(path))}")


def _check_folder() -> Iterator[Finding]:
    """Look whether the broker was started where there are files."""
    folder = exposed_folder()
    if folder is not None:
        text = f"the daemon was started in {folder}: if the disk runs full, AiiDA's broker may delete what is in there"
        yield _note("broker", text, f"{_verdi('daemon stop')}; {start_command()}")


def _process_start(pid: int) -> float | None:
    """Return when a process was started, s since 1970; None where there is none."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def _newest_source() -> float:
    """Return when the newest source file of this package was written, s since 1970."""
    folder = Path(aiida_fuse2.__file__).parent
    return max(path.stat().st_mtime for path in folder.rglob("*.py"))


def _check_broker(workers: Sequence[float]) -> Finding:
    """Look whether the workers, of which it is known when they were started, are connected to the broker.

    They learn its address when they start. So one that is older than the broker is lost to it, and a young one may be
    on its way, for long on a busy machine.
    """
    broker = get_manager().get_broker()
    if not isinstance(broker, ZeromqBroker):
        return _fine("broker", str(broker))
    status = broker.probe_service_status()
    born = _process_start(status.get("pid", 0))
    if born is None:
        return _note("broker", "it was just started, and has not told its state yet")
    n_lost = sum(started + SAME_START < born for started in workers)
    n_missing = max(n_lost, len(workers) - status.get("task_subscribers", 0))
    if n_missing <= 0:
        return _fine("broker", f"running, {len(workers)} worker{'' if len(workers) == 1 else 's'} connected")
    missing = f"{n_missing} of {len(workers)} workers"
    if not n_lost and time.time() - max(workers) < STARTUP:
        return _note("broker", f"{missing} were just started and are not connected yet")
    return _problem("broker", f"{missing} are not connected to the broker (was it killed?)", _verdi("daemon restart"))


# --- codes --------------------------------------------------------------------------------------


def check_codes(*, connect: bool) -> list[Finding]:
    """Look at the codes of the worker.

    Args:
        connect: whether to start the worker on other machines; on this one it is always done.
    """
    builder = orm.QueryBuilder().append(orm.InstalledCode)
    codes = [c for c in builder.all(flat=True) if c.filepath_executable.name == WORKER and not c.is_hidden]
    found = [_check_code(code, connect=connect) for code in codes]
    if not codes:
        return [_problem("code", f"there is no code of {WORKER}", "aiida-fuse2 setup")]
    if any(finding.severity is not Severity.PROBLEM for finding in found):
        return [_as_note(finding) for finding in found]
    return found


def _as_note(finding: Finding) -> Finding:
    """Return a broken code as a note, since another one works."""
    if finding.severity is not Severity.PROBLEM:
        return finding
    return _note(finding.subject, finding.text, finding.command)


def _check_code(code: orm.InstalledCode, *, connect: bool) -> Finding:
    problem = code_problem(code) or calculator_problem(code, "chgnet")
    hide = f"aiida-fuse2 setup --code-label NAME, and {_verdi(f'code hide {code.pk}')}"
    if problem is not None:
        return _problem("code", problem, hide)
    if code.computer.transport_type != "core.local" and not connect:
        return _note(
            "code", f"{code.full_label} is on another machine and was not tried", "aiida-fuse2 doctor --connect"
        )
    if own_code(code) is None:
        program = f"{code.full_label} ({code.filepath_executable})"
        text = f"{program} was not tried: it was neither set up nor used here, and may have come with an archive"
        return _note("code", text, _verdi(f"code show {code.pk}"))
    versions = worker_software(code)
    if versions is None:
        computer = f"verdi computer test {code.computer.label}"
        return _problem("code", f"{code.full_label} does not start on its computer", f"{computer}; or {hide}")
    chgnet = f", chgnet {versions['chgnet']}" if "chgnet" in versions else ", without chgnet"
    return _fine("code", f"{code.full_label}: aiida-fuse2 {versions.get('aiida-fuse2', '?')}{chgnet}")


# --- kernel -------------------------------------------------------------------------------------


def check_kernel() -> list[Finding]:
    """Look at the native kernel of CHGNet on this machine; it is not built for that."""
    problem = library_problem()
    if problem is None:
        return [_fine("kernel", f"the native kernel of CHGNet for {best_instruction_set()} is there, or can be built")]
    text = f"{problem}; where it cannot be built again, PyTorch computes CHGNet, several times slower"
    return [_note("kernel", text, f"look at the folder of kernels, or set {CACHE_VARIABLE} to another one")]


# --- processes ----------------------------------------------------------------------------------


def check_processes() -> list[Finding]:
    """Look for processes that will not advance by themselves."""
    found = [*_paused(), *_unseen(), *_left_behind(), *_outliving(), *_without_task(), *_hanging()]
    if found:
        return found
    active = orm.QueryBuilder().append(orm.WorkChainNode, filters={"process_type": PROCESS_TYPE, **_active()}).count()
    return [_fine("processes", f"{active} active search{'' if active == 1 else 'es'}, nothing hangs")]


def _active() -> dict[str, dict[str, list[str]]]:
    return {"attributes.process_state": {"!in": sorted(TERMINATED)}}


def _paused() -> Iterator[Finding]:
    builder = orm.QueryBuilder()
    filters = {"attributes.paused": True, **_active()}
    builder.append(orm.ProcessNode, filters=filters, project=["id", "attributes.process_label", "attributes"])
    for pk, label, attributes in builder.all():
        reason = attributes.get("process_status")
        text = f"{label} {pk} is paused" + (f": {reason}" if reason else "")
        yield _problem("process", text, _verdi(f"process play {pk}"), _search_of(pk))


def _unseen() -> Iterator[Finding]:
    """Find jobs that AiiDA does not look at any more.

    It tries again by itself five times, in five minutes, and pauses the job then. Where a job was paused while it was
    looked at, no attempt succeeds: AiiDA 2.9 keeps the question that the pause has cancelled, and asks no other one.
    """
    workers = [_process_start(process.pid) or 0.0 for process in _workers_of(get_manager().get_profile())]
    if not workers or time.time() - max(workers) < UNSEEN:
        return  # told with the daemon; or it has just begun to look
    builder = orm.QueryBuilder()
    job = ["id", "attributes.process_label", f"attributes.{orm.CalcJobNode.SCHEDULER_LAST_CHECK_TIME_KEY}"]
    filters = {"attributes.process_status": {"like": f"{MONITORING}%"}, **_active()}  # a paused one says something else
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
        yield _problem("process", text, _verdi("daemon restart"), _search_of(pk))


def _hanging() -> Iterator[Finding]:
    """Find jobs past their wall time, and searches that stand still."""
    late = list(late_jobs())
    for hang in late:
        yield _problem("process", hang.text, _verdi(f"process kill {hang.pk}"), _search_of(hang.pk))
    named = {_search_of(hang.pk) for hang in late}
    for hang in slow_searches():
        if hang.pk not in named:
            command = f"process status {hang.pk}" if hang.job is None else f"process kill {hang.job}"
            yield _problem("search", hang.text, _verdi(command), hang.pk)


def _left_behind() -> Iterator[Finding]:
    """Find what a kill cut off: the step ran again, and this one never ends."""
    types = [PROCESS_TYPE, RUNS_PROCESS_TYPE, REFINE_PROCESS_TYPE]
    found: dict[int, Orphan] = {}
    for orphan in orphans_below({"process_type": {"in": types}}):
        found.setdefault(orphan.pk, orphan)  # that of the search comes before that of its runs
    for pk, orphan in found.items():
        kind = "refinement" if orphan.top_type == REFINE_PROCESS_TYPE else "search"
        text = f"{orphan.label or 'a step'} {pk} of {kind} {orphan.top} was cut off by a kill and done again"
        if orphan.top_state in TERMINATED:
            text += f"; it keeps the {kind} from being exported"
            yield _problem("process", text, "aiida-fuse2 doctor --mend", orphan.top)
        elif _has_called_since(pk):
            yield _note("process", f"{text}; it is sealed when the {kind} ends")


def _outliving() -> Iterator[Finding]:
    """Find what waits or runs although the process that called it has ended."""
    found = _lasting(_called_by_ended)
    for pk, (label, caller, kind) in found.items():
        top = _search_of(pk)
        if top is None:
            continue  # not of this package
        if kind == PROCESS_TYPE:
            yield _note(
                "process", f"search {pk} goes on although runs {caller} have ended", f"aiida-fuse2 stop {caller}"
            )
            continue
        text = f"{label} {pk} waits or runs although its caller {caller} has ended"
        yield _problem("process", text, _verdi(f"process kill {pk}"), top)


def _called_by_ended() -> dict[int, tuple[str, int, str | None]]:
    """Return label, caller and identifier of active processes whose caller has ended, by primary key."""
    builder = orm.QueryBuilder()
    project = ["id", "attributes.process_label", "process_type"]
    filters = {**_active(), "attributes": {"has_key": "checkpoints"}}  # what has none is found as left behind
    builder.append(orm.ProcessNode, filters=filters, project=project, tag="called")
    ended = {"attributes.process_state": {"in": sorted(TERMINATED)}}
    builder.append(orm.WorkChainNode, with_outgoing="called", filters=ended, project="id")
    return {pk: (label, caller, kind) for pk, label, kind, caller in builder.all()}


def mend() -> list[Finding]:
    """Seal what kills have left behind in searches that have ended; return what was done."""
    ended = {finding.search for finding in _left_behind() if finding.severity is Severity.PROBLEM}
    done = []
    for pk in sorted(search for search in ended if search is not None):
        sealed = ", ".join(str(orphan) for orphan in seal_orphans(orm.load_node(pk)))
        done.append(_fine("process", f"sealed what a kill had left behind in search {pk}: {sealed}"))
    return done


def _has_called_since(pk: int) -> bool:
    """Return whether the caller of a process has ended, or has called another one after it."""
    caller = orm.load_node(pk).caller
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": caller.pk}, tag="caller")
    builder.append(orm.ProcessNode, filters={"id": {">": pk}}, with_incoming="caller")
    return bool(caller.is_terminated) or builder.count() > 0


def _without_task() -> Iterator[Finding]:
    """Find processes that no worker will ever take up, since the broker does not know them."""
    lost = _lasting(_lost_processes)
    mend = f"{_verdi('daemon stop')}; {_verdi('process repair')}; {start_command()}"
    for pk, label in lost.items():
        yield _problem("process", f"{label} {pk} is not in the queue of the broker", mend, _search_of(pk))


def _lasting(look: Callable[[], dict[int, T]]) -> dict[int, T]:
    """Return the processes that a look finds, and finds again for a while.

    One that was just submitted may be on its way to the broker, and one whose search has just ended on its way out.
    """
    found = look()
    end = time.monotonic() + HANDED_OVER
    while found and time.monotonic() < end:
        time.sleep(LOOK_AGAIN)
        still = look()
        found = {pk: known for pk, known in found.items() if pk in still}
    return found


def _lost_processes() -> dict[int, str]:
    """Return labels of active processes that have no task at this moment, by primary key."""
    builder = orm.QueryBuilder()
    filters = {"attributes.process_state": {"in": ["created", "waiting", "running"]}}
    builder.append(orm.ProcessNode, filters=filters, project=["id", "attributes.process_label", "node_type"])
    active = {pk: label for pk, label, kind in builder.all() if "CalcFunction" not in kind}
    queued = _queued_processes() if active else None
    return {} if queued is None else {pk: label for pk, label in active.items() if pk not in queued}


def _queued_processes() -> set[int] | None:
    """Return the processes that the broker has a task for, or None where that cannot be seen now.

    The files of the ZeroMQ broker are only read. AiiDA's ``get_process_tasks`` opens its queue as the broker does when
    it starts, and takes back what workers hold: a task whose worker died later would be lost. RabbitMQ does not show
    what workers hold, so there is an answer only while none runs.
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
            continue  # taken or done in this moment, or not a task of a process
    return found


def _search_of(pk: int) -> int | None:
    """Return the search, the runs or the refinement that a process belongs to, itself included."""
    types = {PROCESS_TYPE, RUNS_PROCESS_TYPE, REFINE_PROCESS_TYPE}
    return next((int(node.pk) for node in with_callers(orm.load_node(pk)) if node.process_type in types), None)
