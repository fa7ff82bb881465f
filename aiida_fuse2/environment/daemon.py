"""The daemon and the broker, without which nothing advances."""

from __future__ import annotations

import contextlib
import shlex
import time

import psutil
from aiida.brokers.zeromq.broker import ZeromqBroker
from aiida.common.exceptions import ConfigurationError
from aiida.engine.daemon.client import (
    DaemonClient,
    DaemonException,
    DaemonNotRunningException,
    get_daemon_client,
)
from aiida.manage import get_manager
from aiida.manage.configuration import Profile
from aiida.manage.configuration.settings import AiiDAConfigPathResolver

from aiida_fuse2.storage.broker import broker_layout, harmless_folder, has_zeromq_broker, remove_empty_sockets_file

from .profile import SetupError, Step

STATUS_TIMEOUT = 5
"""Longest time that the daemon may take to answer, s."""

BROKER_TIMEOUT = 60
"""Longest time that the broker of a daemon that was just started may take to answer, s; two on an idle machine."""

BROKER_POLL = 0.2
"""Time between two looks at the broker, s."""


def start_command(n_workers: int = 1) -> str:
    """Return the command that starts the daemon of the loaded profile in a folder without files (see ``broker``)."""
    command = f"verdi -p {get_manager().get_profile().name} daemon start {n_workers}"
    return f"(cd {shlex.quote(str(harmless_folder()))} && {command})" if has_zeromq_broker() else command


def ensure_daemon(n_workers: int) -> Step:
    """Start the daemon unless it runs.

    Raises:
        SetupError: if the profile has no broker, or the daemon does not start.
    """
    _require_broker()
    client = get_daemon_client()
    try:
        if _responds(client):
            running = client.get_number_of_workers()
            text = f"daemon is running with {running} worker{'' if running == 1 else 's'}"
            return Step(changed=False, text=text)
        remove_empty_sockets_file()
        with contextlib.chdir(harmless_folder()):
            client.start_daemon(number_workers=n_workers)
        _await_broker()
    except (DaemonException, ConfigurationError) as error:
        raise SetupError(f"the daemon does not start: {error}; try `{start_command(n_workers)}`") from error
    return Step(changed=True, text=f"started the daemon with {n_workers} worker{'' if n_workers == 1 else 's'}")


def _await_broker() -> None:
    """Wait until the broker answers: the daemon says that it has started before its broker has."""
    broker = get_manager().get_broker()
    if not isinstance(broker, ZeromqBroker):
        return
    begin, status = time.monotonic(), broker_layout().status_file
    while time.monotonic() - begin < BROKER_TIMEOUT:
        if status.exists() and broker.probe_service_status().get("connected"):
            return
        time.sleep(BROKER_POLL)


def broker_problem() -> tuple[str, str] | None:
    """Return the problem and the commands that solve it if the loaded profile has no broker, else None."""
    profile = get_manager().get_profile()
    if profile.process_control_backend is not None:
        return None
    command = f"verdi profile configure-broker core.zeromq -n {profile.name} && aiida-fuse2 -p {profile.name} setup -n"
    return f"the profile {profile.name!r} has no broker, so it can have no daemon", command


def _require_broker() -> None:
    problem = broker_problem()
    if problem is not None:
        raise SetupError(f"{problem[0]}; give it one with `{problem[1]}`")


def _responds(client: DaemonClient) -> bool:
    try:
        client.get_status(timeout=STATUS_TIMEOUT)
    except DaemonException:
        return False
    return True


def daemon_problem() -> str | None:
    """Return why processes do not advance in the loaded profile, or None if daemon and broker are up."""
    without_broker = broker_problem()
    if without_broker is not None:
        return f"{without_broker[0]}; give it one with `{without_broker[1]}`"
    client = get_daemon_client()
    try:
        client.get_status(timeout=STATUS_TIMEOUT)
    except DaemonNotRunningException:
        return f"the daemon is not running; start it with `{start_command()}`"
    except (DaemonException, ConfigurationError) as error:
        return f"the daemon cannot be reached ({error}); try `{start_command()}`"
    return _broker_problem()


def _broker_problem() -> str | None:
    broker = get_manager().get_broker()
    restart = f"try `verdi -p {get_manager().get_profile().name} daemon restart`"
    if isinstance(broker, ZeromqBroker):
        return None if broker.probe_service_status().get("connected") else f"the broker is not running; {restart}"
    try:
        broker.get_communicator()
    except Exception as error:  # noqa: BLE001 - kiwipy lets through whatever the connection raises
        return f"the broker cannot be reached ({error}); is RabbitMQ running?"
    return None


def require_daemon() -> None:
    """Check that processes can be submitted.

    Raises:
        SetupError: if they cannot; the message says what to do.
    """
    _require_broker()
    problem = daemon_problem()
    if problem is not None:
        raise SetupError(problem)


WORKER_ARGUMENTS = ["daemon", "worker"]
"""Arguments with which AiiDA starts a worker of its daemon."""


def workers_of(profile: Profile) -> list[psutil.Process]:
    """Return the processes of this machine that are workers of a profile; AiiDA keeps a file for each process."""
    found = []
    for path in (AiiDAConfigPathResolver().access_control_dir / profile.name).glob("*.pid"):
        try:
            process = psutil.Process(int(path.stem))
            if process.cmdline()[-2:] == WORKER_ARGUMENTS and path.read_text() == str(process.cmdline()):
                found.append(process)
        except (psutil.Error, OSError, ValueError):
            continue  # it has ended, or another process has its number now
    return found


def process_start(pid: int) -> float | None:
    """Return the start time of a process, s since 1970; None if there is none."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
