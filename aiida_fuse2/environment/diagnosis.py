"""Problems that keep searches from advancing, and the commands that solve them."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
from aiida import orm
from aiida.brokers.zeromq.broker import ZeromqBroker
from aiida.engine.daemon.client import DaemonException, get_daemon_client
from aiida.manage import get_manager

import aiida_fuse2
from aiida_fuse2.core.potentials.chgnet.build import CACHE_VARIABLE, best_instruction_set, library_problem
from aiida_fuse2.storage.broker import empty_sockets_file, exposed_folder
from aiida_fuse2.storage.disk import data_folders, existing, free_space, job_folders

from .codes import WORKER, calculator_problem, code_problem
from .daemon import broker_problem, daemon_problem, process_start, start_command, workers_of
from .findings import Finding, Severity, fine, note, problem, verdi
from .processes import check_processes
from .software import worker_software
from .trust import own_code

DISK_FULL = 200e6
"""Free space below which a search is about to fail, bytes."""

DISK_LOW = 2e9
"""Free space below which the user is warned, bytes; 10,000 explored structures take about 0.5 GB."""

STARTUP = 60
"""Longest time that a worker may take to connect to the broker, s; two on an idle machine."""

SAME_START = 1
"""Broker and workers count as started together within this time, s."""


def examine(*, connect: bool = False) -> list[Finding]:
    """Check everything that a search in the loaded profile depends on.

    Args:
        connect: whether to connect to the computers of codes on other machines.
    """
    return [*check_disk(), *check_daemon(), *check_codes(connect=connect), *check_kernel(), *check_processes()]


# --- disk ---------------------------------------------------------------------------------------


def check_disk() -> Iterator[Finding]:
    """Check the free space in the folders of data and of jobs of this machine, and try to write there."""
    for name, folder in {**data_folders(), **job_folders()}.items():
        free, place = free_space(folder), existing(folder)
        text = f"{free / 1e9:.1f} GB free for {name} ({folder})"
        mend = "free some space; searches that have failed continue with `aiida-fuse2 continue PK`"
        if free < DISK_FULL:
            yield problem("disk", text, mend)
        elif not _can_write(place):
            yield problem("disk", f"cannot write for {name} in {place}", f"ls -ld {place}; quota -s")
        elif free < DISK_LOW:
            yield note("disk", text, mend)
        else:
            yield fine("disk", text)


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
    """Check daemon and broker: processes need both to advance."""
    without_broker = broker_problem()
    if without_broker is not None:
        yield problem("broker", *without_broker)
        return
    yield from _check_sockets_file()
    yield from _surviving_workers()
    broken = daemon_problem()
    if broken is not None:
        text, _, command = broken.partition("; ")
        is_broker = "broker" in text
        restart = verdi("daemon restart") if is_broker else start_command()
        yield problem("broker" if is_broker else "daemon", text, restart if "`" in command else command or restart)
        return
    try:
        workers = get_daemon_client().get_worker_info().get("info", {})
    except DaemonException as error:
        yield problem("daemon", f"the daemon does not answer ({error})", verdi("daemon restart"))
        return
    if not workers:
        yield problem("daemon", "the daemon runs without a worker", verdi("daemon incr 1"))
        return
    started = [time_ for pid in workers if (time_ := process_start(int(pid))) is not None]
    if started and min(started) < _newest_source():
        text = "the daemon is older than the installed code of aiida-fuse2, and runs the code that it was started with"
        yield note("daemon", text, verdi("daemon restart"))
    else:
        yield fine("daemon", f"running with {len(workers)} worker{'' if len(workers) == 1 else 's'}")
    yield _check_broker(started)
    yield from _check_folder()


def _surviving_workers() -> Iterator[Finding]:
    """Find workers whose daemon has ended without them: they keep running beside those of the next daemon."""
    profile, daemon = get_manager().get_profile(), get_daemon_client().get_daemon_pid()
    for process in workers_of(profile):
        try:
            parent = process.ppid()
            started = datetime.fromtimestamp(process.create_time(), tz=UTC).astimezone()
        except psutil.Error:  # it has just ended
            continue
        if parent != daemon:
            text = f"a worker of a daemon that is no more still runs (pid {process.pid}, since {started:%F %R})"
            yield problem("daemon", text, f"kill {process.pid}")


def _check_sockets_file() -> Iterator[Finding]:
    """Find the file that makes the broker delete files when it starts (see ``broker``)."""
    path = empty_sockets_file()
    if path is not None:
        text = f"{path} was written empty on a full disk: a broker that starts now deletes the files in its folder"
        yield problem("broker", text, f"rm -f {shlex.quote(str(path))}")


def _check_folder() -> Iterator[Finding]:
    """Check whether the broker was started in a folder with files."""
    folder = exposed_folder()
    if folder is not None:
        text = f"the daemon was started in {folder}: if the disk runs full, AiiDA's broker may delete what is in there"
        yield note("broker", text, f"{verdi('daemon stop')}; {start_command()}")


def _newest_source() -> float:
    """Return the time of the newest source file of this package, s since 1970."""
    folder = Path(aiida_fuse2.__file__).parent
    return max(path.stat().st_mtime for path in folder.rglob("*.py"))


def _check_broker(workers: Sequence[float]) -> Finding:
    """Check whether the workers with known start times are connected to the broker.

    Workers read its address when they start. So one that is older than the broker cannot connect, and a young one may
    be connecting, which takes long on a busy machine.
    """
    broker = get_manager().get_broker()
    if not isinstance(broker, ZeromqBroker):
        return fine("broker", str(broker))
    status = broker.probe_service_status()
    born = process_start(status.get("pid", 0))
    if born is None:
        return note("broker", "it was just started and has not reported its state yet")
    n_lost = sum(started + SAME_START < born for started in workers)
    n_missing = max(n_lost, len(workers) - status.get("task_subscribers", 0))
    if n_missing <= 0:
        return fine("broker", f"running, {len(workers)} worker{'' if len(workers) == 1 else 's'} connected")
    missing = f"{n_missing} of {len(workers)} workers"
    if not n_lost and time.time() - max(workers) < STARTUP:
        return note("broker", f"{missing} were just started and are not connected yet")
    return problem("broker", f"{missing} are not connected to the broker (was it killed?)", verdi("daemon restart"))


# --- codes --------------------------------------------------------------------------------------


def check_codes(*, connect: bool) -> list[Finding]:
    """Check the codes of the worker.

    Args:
        connect: whether to start the worker on other machines; on this one it is always done.
    """
    builder = orm.QueryBuilder().append(orm.InstalledCode)
    codes = [c for c in builder.all(flat=True) if c.filepath_executable.name == WORKER and not c.is_hidden]
    found = [_check_code(code, connect=connect) for code in codes]
    if not codes:
        return [problem("code", f"there is no code of {WORKER}", "aiida-fuse2 setup")]
    if any(finding.severity is not Severity.PROBLEM for finding in found):
        return [_as_note(finding) for finding in found]
    return found


def _as_note(finding: Finding) -> Finding:
    """Return a broken code as a note, since another one works."""
    if finding.severity is not Severity.PROBLEM:
        return finding
    return note(finding.subject, finding.text, finding.command)


def _check_code(code: orm.InstalledCode, *, connect: bool) -> Finding:
    broken = code_problem(code) or calculator_problem(code, "chgnet")
    hide = f"aiida-fuse2 setup --code-label NAME, and {verdi(f'code hide {code.pk}')}"
    if broken is not None:
        return problem("code", broken, hide)
    if code.computer.transport_type != "core.local" and not connect:
        return note(
            "code", f"{code.full_label} is on another machine and was not tried", "aiida-fuse2 doctor --connect"
        )
    if own_code(code) is None:
        program = f"{code.full_label} ({code.filepath_executable})"
        text = f"{program} was not tried: it was neither set up nor used here, and may have come with an archive"
        return note("code", text, verdi(f"code show {code.pk}"))
    versions = worker_software(code)
    if versions is None:
        computer = f"verdi computer test {code.computer.label}"
        return problem("code", f"{code.full_label} does not start on its computer", f"{computer}; or {hide}")
    chgnet = f", chgnet {versions['chgnet']}" if "chgnet" in versions else ", without chgnet"
    return fine("code", f"{code.full_label}: aiida-fuse2 {versions.get('aiida-fuse2', '?')}{chgnet}")


def check_kernel() -> list[Finding]:
    """Check the native kernel of CHGNet on this machine, without building it."""
    broken = library_problem()
    if broken is None:
        return [fine("kernel", f"the native kernel of CHGNet for {best_instruction_set()} is there, or can be built")]
    text = f"{broken}; where it cannot be built again, PyTorch computes CHGNet, several times slower"
    return [note("kernel", text, f"look at the folder of kernels, or set {CACHE_VARIABLE} to another one")]
