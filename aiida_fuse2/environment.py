"""What a search needs from AiiDA: a profile, a computer, the code and the daemon.

Everything here can be called twice: what is there already is left as it is, and said so.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from aiida import orm
from aiida.brokers.zeromq.broker import ZeromqBroker
from aiida.common.exceptions import AiidaException, ConfigurationError, MissingConfigurationError, NotExistent
from aiida.engine.daemon.client import (
    DaemonClient,
    DaemonException,
    DaemonNotRunningException,
    get_daemon_client,
)
from aiida.manage import configuration, get_manager
from aiida.manage.configuration import Profile
from aiida.plugins import BrokerFactory

from aiida_fuse2.broker import harmless_folder, has_zeromq_broker, remove_empty_sockets_file
from aiida_fuse2.core.errors import Fuse2Error
from aiida_fuse2.core.settings import CHGNET, PAIR

WORKER = "aiida-fuse2-worker"
"""Command that jobs run on the computer of the code."""

CODE_LABEL = "fuse2-worker"
COMPUTER_LABEL = "localhost"
PROFILE_NAME = "fuse2"

PLUGIN_PREFIX = "fuse2."
"""Start of the names of our calculations."""

CALCULATION = f"{PLUGIN_PREFIX}relax"
"""Calculation that the code runs by default."""

DEFAULT_EMAIL = "aiida@localhost"
"""Address of the user of a new profile where the configuration names none (as in ``verdi presto``)."""

PROFILE_OPTIONS = {
    "daemon.timeout": 30,
    "broker.task_timeout": 60,
    "runner.poll.interval": 1,
}
"""Options of a profile made here: a busy machine answers slowly, and short jobs are asked for often. Seconds."""

STATUS_TIMEOUT = 5
"""How long the daemon may take to say that it is there, s."""


LARGEST_KEY = 2**63 - 1
"""Largest primary key; databases hold whole numbers of 64 bits."""

UUID_BEGINNING = 8
"""Digits that are more likely the beginning of a UUID, as it is shown, than a primary key that does not exist."""

_NAME = re.compile(r"[A-Za-z0-9][\w-]*")
"""Names of profiles that are also good names of folders."""

POLL_SECONDS = 5
"""Time between two looks at the jobs on this machine, s. Each look starts a shell; at one per second these
took a third of the engine's CPU time."""


class SetupError(Fuse2Error):
    """Something that a search needs is missing; the message says what to do."""


@dataclass(frozen=True)
class Step:
    """One thing that was set up, or was there already.

    Attributes:
        changed: whether something was made or started.
        text: for people.
        is_problem: whether the user has to do something about it.
    """

    changed: bool
    text: str
    is_problem: bool = False


# --- profile ------------------------------------------------------------------------------------


def configuration_folder() -> Path:
    """Return the folder of AiiDA's configuration (``AIIDA_PATH``, or ``~/.aiida``)."""
    return Path(configuration.get_config(create=True).dirpath)


def profile_names() -> list[str]:
    """Return the names of the user's profiles; nothing is made where AiiDA was never configured."""
    try:
        return list(configuration.get_config().profile_names)
    except MissingConfigurationError:
        return []


def load_search_profile(name: str | None = None) -> Profile:
    """Load a profile: the named one, the one that is loaded already, or the default one.

    Raises:
        SetupError: where there is none.
    """
    names = profile_names()
    if not names:
        raise SetupError("there is no AiiDA profile yet; make one with `aiida-fuse2 setup`")
    if name is not None and name not in names:
        raise SetupError(f"there is no profile {name!r}, only {', '.join(names)}")
    loaded = configuration.get_profile()
    if name is None and loaded is None and configuration.get_config().default_profile_name is None:
        raise SetupError(f"no profile is the default one; name one with --profile: {', '.join(names)}")
    try:
        return configuration.load_profile(name, allow_switch=True)
    except ConfigurationError as error:
        raise SetupError(f"the profile cannot be loaded: {error}") from error


def create_profile(name: str = PROFILE_NAME) -> Step:
    """Make a profile on SQLite with the ZeroMQ broker, which need no service, and load it.

    It becomes the default profile only where there was none.

    Raises:
        SetupError: where the name is taken, or the profile cannot be made.
    """
    if not _NAME.fullmatch(name):
        raise SetupError(f"{name!r} is no name for a profile; use letters, digits, '-' and '_'")
    config = configuration.get_config(create=True)
    if name in config.profile_names:
        raise SetupError(f"a profile {name!r} exists already; use it with --profile {name}")
    is_first = not config.profile_names
    try:
        configuration.create_profile(
            config,
            name=name,
            email=configuration.get_config_option("autofill.user.email") or DEFAULT_EMAIL,
            storage_backend="core.sqlite_dos",
            storage_config={},
            broker_backend="core.zeromq",
            broker_config=BrokerFactory("core.zeromq").get_default_config(),
        )
    except (AiidaException, ValueError, OSError) as error:
        raise SetupError(f"the profile {name!r} cannot be made: {error}") from error
    for option, value in PROFILE_OPTIONS.items():
        config.set_option(option, value, scope=name)
    if is_first:
        config.set_default_profile(name, overwrite=True)
    config.store()
    configuration.load_profile(name, allow_switch=True)
    default = "; it is the default one" if is_first else f"; use it with --profile {name}"
    return Step(changed=True, text=f"made profile {name!r} (SQLite, ZeroMQ){default}")


# --- computer and code --------------------------------------------------------------------------


def default_worker() -> Path:
    """Return the worker command of the environment that this runs in."""
    return Path(sys.executable).with_name(WORKER)


def ensure_computer(label: str = COMPUTER_LABEL) -> Step:
    """Make this machine a computer, unless there is one of that label.

    Raises:
        SetupError: where another machine is named that is not set up, which takes more than a label.
    """
    try:
        computer = orm.load_computer(label)
    except NotExistent:
        if label != COMPUTER_LABEL:
            raise SetupError(
                f"there is no computer {label!r}; set it up with `verdi computer setup` and `verdi computer configure`"
            ) from None
    else:
        if computer.is_configured:
            return Step(changed=False, text=f"computer {label!r} is there ({_description(computer)})")
        text = f"computer {label!r} is there but not configured: `verdi computer configure {computer.transport_type}`"
        return Step(changed=False, text=f"{text} {label}", is_problem=True)
    folder = configuration_folder() / "scratch" / get_manager().get_profile().name
    computer = orm.Computer(
        label=label,
        hostname="localhost",
        description="This machine",
        transport_type="core.local",
        scheduler_type="core.direct",
        workdir=str(folder),
    ).store()
    computer.configure(safe_interval=0, use_login_shell=False)
    computer.set_minimum_job_poll_interval(POLL_SECONDS)
    computer.set_default_mpiprocs_per_machine(1)
    return Step(changed=True, text=f"made computer {label!r} (this machine); jobs run in {folder}")


def _description(computer: orm.Computer) -> str:
    return f"{computer.hostname}, {computer.scheduler_type}"


def ensure_code(
    label: str = CODE_LABEL, *, computer: str = COMPUTER_LABEL, worker: Path | None = None
) -> tuple[orm.AbstractCode, Step]:
    """Make the worker a code on a computer, unless there is one of that label.

    Args:
        label: of the code.
        computer: label of its computer.
        worker: absolute path of ``aiida-fuse2-worker`` there; by default that of this environment.

    Raises:
        SetupError: where the path is not given, or there is no such program.
    """
    machine = orm.load_computer(computer)
    is_local = machine.transport_type == "core.local"
    if worker is None and not is_local:
        raise SetupError(f"say where {WORKER} is on {computer!r}: --worker /absolute/path/to/{WORKER}")
    path = default_worker() if worker is None else worker
    if not path.is_absolute():
        raise SetupError(f"the path of the worker must be absolute, not {path}")
    existing = _find_code(label, machine)
    if existing is not None:
        return existing, _compare_code(existing, path)
    if is_local and not os.access(path, os.X_OK):
        raise SetupError(f"there is no program {path}; install aiida-fuse2 there, or give --worker")
    code = orm.InstalledCode(
        label=label,
        computer=machine,
        filepath_executable=str(path),
        default_calc_job_plugin=CALCULATION,
        description="Relaxes and generates structures for aiida-fuse2",
    ).store()
    return code, Step(changed=True, text=f"made code {code.full_label!r}: {path}")


def _find_code(label: str, computer: orm.Computer) -> orm.AbstractCode | None:
    builder = orm.QueryBuilder().append(orm.Computer, filters={"id": computer.pk}, tag="computer")
    builder.append(orm.InstalledCode, filters={"label": label}, with_computer="computer")
    builder.order_by({orm.InstalledCode: {"id": "desc"}})
    return builder.first(flat=True)


def _compare_code(code: orm.InstalledCode, path: Path) -> Step:
    """Say whether an existing code is the worker asked for; it is never changed."""
    name, found = code.full_label, code.filepath_executable
    problem = code_problem(code)
    if problem is not None:
        return Step(changed=False, text=f"{problem}; make another with --code-label", is_problem=True)
    if str(found) == str(path):
        return Step(changed=False, text=f"code {name!r} is there: {found}")
    text = f"code {name!r} is there with another path and was left as it is: {found}; for {path} give --code-label"
    return Step(changed=False, text=text, is_problem=True)


def node_identifier(text: str) -> int | str:
    """Return a primary key as a number, and anything else (a label, a UUID or its beginning) as it is.

    Raises:
        ValueError: where the text is a number that no key can be; it would end the session with the database.
    """
    try:
        number = int(text)
    except ValueError:
        return text
    if abs(number) > LARGEST_KEY:
        raise ValueError("no primary key is so large")
    return number


def load_node(identifier: int | str) -> orm.Node:
    """Return a node by primary key, by UUID or by the beginning of that, also where this has no letter in it.

    Raises:
        NotExistent: where there is none.
        MultipleObjectsError: where several begin so.
        ValueError: where the text is a number that no key can be.
    """
    text = str(identifier)
    try:
        return orm.load_node(node_identifier(text))
    except NotExistent:
        if not (text.isdecimal() and len(text) >= UUID_BEGINNING):
            raise
        return orm.load_node(uuid=text)


def load_code(identifier: str = CODE_LABEL) -> orm.AbstractCode:
    """Return a code by label, ``label@computer``, primary key or UUID.

    Raises:
        SetupError: where there is none, or there are several.
    """
    code = load_tier_code(identifier)
    problem = code_problem(code)
    if problem is not None:
        raise SetupError(f"{problem}; make a code that works with `aiida-fuse2 setup --code-label NAME`")
    return code


def load_tier_code(identifier: str) -> orm.AbstractCode:
    """Return a code of any program by label, ``label@computer``, primary key or UUID.

    Raises:
        SetupError: where there is none, or there are several.
    """
    try:
        return orm.load_code(node_identifier(identifier))
    except NotExistent:
        raise SetupError(
            f"there is no code {identifier!r}; `aiida-fuse2 setup` makes {CODE_LABEL!r} (`verdi code list` lists all)"
        ) from None
    except (ValueError, TypeError) as error:  # several codes of that label raise a ValueError
        raise SetupError(f"the code {identifier!r} cannot be used: {error}") from error


def code_problem(code: orm.AbstractCode) -> str | None:
    """Return what is wrong with a code, as far as this can be seen without connecting anywhere."""
    plugin = code.default_calc_job_plugin
    if plugin and not plugin.startswith(PLUGIN_PREFIX):
        return f"code {code.full_label!r} is for {plugin!r} and is not {WORKER}"
    if not isinstance(code, orm.InstalledCode):
        return None
    if code.computer.transport_type == "core.local" and not os.access(code.filepath_executable, os.X_OK):
        return f"code {code.full_label!r} points to {code.filepath_executable}, which is not a program (any more)"
    if not code.computer.is_configured:
        return f"the computer {code.computer.label!r} of code {code.full_label!r} is not configured"
    return None


def calculator_problem(code: orm.AbstractCode, calculator: str) -> str | None:
    """Return why a calculator cannot run, where the code is that of this environment."""
    if calculator == PAIR:  # needs nothing that the worker does not
        return None
    is_own = isinstance(code, orm.InstalledCode) and str(code.filepath_executable) == str(default_worker())
    module = CHGNET if calculator == CHGNET else calculator.rpartition(".")[0]
    if not is_own or _can_be_found(module):
        return None
    hint = "pip install 'aiida-fuse2[chgnet]'" if calculator == CHGNET else f"there is no Python package {module!r}"
    return f"the calculator {calculator!r} is not installed in the environment of the code: {hint}"


def _can_be_found(module: str) -> bool:
    """Tell whether a module is there; only the packages that it is in are imported."""
    try:
        return find_spec(module) is not None
    except Exception:  # noqa: BLE001 - whatever importing somebody's package raises
        return False


# --- daemon -------------------------------------------------------------------------------------


def start_command(n_workers: int = 1) -> str:
    """Return the command that starts the daemon of the loaded profile, where files are safe from it (``broker``)."""
    command = f"verdi -p {get_manager().get_profile().name} daemon start {n_workers}"
    return f"(cd {shlex.quote(str(harmless_folder()))} && {command})" if has_zeromq_broker() else command


def ensure_daemon(n_workers: int) -> Step:
    """Start the daemon unless it runs.

    Raises:
        SetupError: where the profile has no broker, or the daemon does not start.
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
    except (DaemonException, ConfigurationError) as error:
        raise SetupError(f"the daemon does not start: {error}; try `{start_command(n_workers)}`") from error
    return Step(changed=True, text=f"started the daemon with {n_workers} worker{'' if n_workers == 1 else 's'}")


def _require_broker() -> None:
    profile = get_manager().get_profile()
    if profile.process_control_backend is None:
        raise SetupError(
            f"the profile {profile.name!r} has no broker, so it can have no daemon; give it one with "
            "`verdi profile configure-broker`, or make another profile with `aiida-fuse2 setup --new-profile NAME`"
        )


def _responds(client: DaemonClient) -> bool:
    try:
        client.get_status(timeout=STATUS_TIMEOUT)
    except DaemonException:
        return False
    return True


def daemon_problem() -> str | None:
    """Return why processes do not advance in the loaded profile, or None where daemon and broker are up."""
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
    """Make sure that processes can be submitted.

    Raises:
        SetupError: where they cannot, with what to do.
    """
    _require_broker()
    problem = daemon_problem()
    if problem is not None:
        raise SetupError(problem)
