"""The computer and the codes that jobs run with.

All functions can be called twice: existing parts stay as they are, and are reported.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.manage import get_manager

from aiida_fuse2.core.potentials.installed import installed_version
from aiida_fuse2.core.settings import CHGNET, PAIR
from aiida_fuse2.parsers.memory import code_part, has_run, remember
from aiida_fuse2.protocols.models import all_models
from aiida_fuse2.query.nodes import identified
from aiida_fuse2.storage.disk import configuration_folder

from .profile import SetupError, Step

WORKER = "aiida-fuse2-worker"
"""Command that jobs run on the computer of the code."""

CODE_LABEL = "fuse2-worker"

COMPUTER_LABEL = "localhost"

PLUGIN_PREFIX = "fuse2."
"""Start of the names of the calculations of this package."""

CALCULATION = f"{PLUGIN_PREFIX}relax"
"""Calculation that the code runs by default."""

OTHER_COMPUTER_LABEL = "localhost-fuse2"
"""Label of this machine if an imported archive contains a computer with the usual label."""

POLL_SECONDS = 5
"""Time between two checks of the jobs on this machine, s. Each check starts a shell; at one per second these
took a third of the engine's CPU time."""


def default_worker() -> Path:
    """Return the worker command of the current environment."""
    return Path(sys.executable).with_name(WORKER)


def computer_label(label: str = COMPUTER_LABEL) -> str:
    """Return the label of the computer that a label of the user means.

    An archive that is imported before a profile is set up can contain a computer ``localhost``. It is not used, since
    its folders and its commands before each job belong to another user.
    """
    try:
        known = orm.load_computer(label=label)
    except NotExistent:
        return label
    return OTHER_COMPUTER_LABEL if label == COMPUTER_LABEL and not known.is_configured else label


def ensure_computer(label: str = COMPUTER_LABEL) -> Step:
    """Make a computer for this machine, unless one with this label exists.

    Raises:
        SetupError: if another machine is named that is not set up, since this needs more than a label.
    """
    try:
        computer = orm.load_computer(label=label)
    except NotExistent:
        if label not in {COMPUTER_LABEL, OTHER_COMPUTER_LABEL}:
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
    """Make a code for the worker on a computer, unless one with this label exists.

    Args:
        label: label of the code.
        computer: label of its computer.
        worker: absolute path of ``aiida-fuse2-worker`` there; by default that of this environment.

    Raises:
        SetupError: if the path is not given, or there is no such program.
    """
    machine = orm.load_computer(label=computer)
    is_local = machine.transport_type == "core.local"
    if worker is None and not is_local:
        raise SetupError(f"say where {WORKER} is on {computer!r}: --worker /absolute/path/to/{WORKER}")
    path = default_worker() if worker is None else worker
    if not path.is_absolute():
        raise SetupError(f"the path of the worker must be absolute, not {path}")
    existing = _find_code(label, machine, path)
    if existing is not None:
        if _is_plain_worker(existing, path):
            remember([code_part(existing)])
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
    remember([code_part(code)])
    return code, Step(changed=True, text=f"made code {code.full_label!r}: {path}")


def _find_code(label: str, computer: orm.Computer, path: Path) -> orm.InstalledCode | None:
    """Return the code of a label on a computer: preferably one made here, then one that only runs the program."""
    builder = orm.QueryBuilder().append(orm.Computer, filters={"id": computer.pk}, tag="computer")
    builder.append(orm.InstalledCode, filters={"label": label}, with_computer="computer")
    found = builder.order_by({orm.InstalledCode: {"id": "desc"}}).all(flat=True)
    return max(found, key=lambda code: (is_made_here(code), _is_plain_worker(code, path)), default=None)


def _is_plain_worker(code: orm.InstalledCode, path: Path) -> bool:
    """Return whether a code only runs the program at this path, like one that is made here."""
    return str(code.filepath_executable) == str(path) and not runs_commands(code)


def runs_commands(code: orm.AbstractCode) -> bool:
    """Return whether a code has commands of its own before or after its program."""
    return bool(code.prepend_text or code.append_text)


def is_made_here(code: orm.AbstractCode) -> bool:
    """Return whether `setup` has made a code in this profile, or has found that it only runs the program."""
    return has_run(code_part(code))


def _compare_code(code: orm.InstalledCode, path: Path) -> Step:
    """Report whether an existing code is the requested worker; it is never changed."""
    name, found = code.full_label, code.filepath_executable
    problem = code_problem(code)
    if problem is not None:
        return Step(changed=False, text=f"{problem}; make another with --code-label", is_problem=True)
    if str(found) == str(path):
        return Step(changed=False, text=f"code {name!r} is there: {found}")
    text = f"code {name!r} is there with another path and was left as it is: {found}; for {path} give --code-label"
    return Step(changed=False, text=text, is_problem=True)


def load_code(identifier: str = CODE_LABEL) -> orm.AbstractCode:
    """Return a code by label, ``label@computer``, primary key or UUID; ``load_tier_code`` chooses among several.

    Raises:
        SetupError: if there is none, or there are several.
    """
    code = load_tier_code(identifier)
    problem = code_problem(code)
    if problem is not None:
        raise SetupError(f"{problem}; make a code that works with `aiida-fuse2 setup --code-label NAME`")
    return code


def load_tier_code(identifier: str) -> orm.AbstractCode:
    """Return a code of any program by label, ``label@computer``, primary key or UUID.

    If several have one label, those that are hidden or whose computer is not configured here are omitted: an imported
    archive can contain such codes. A code that `setup` has made here is preferred to others, which may come from an
    archive that knew the UUID of a computer of this profile.

    Raises:
        SetupError: if there is none, or there are several.
    """
    try:
        return identified(identifier, orm.load_code, by_label=_code_of_label, label_first=True)
    except NotExistent:
        raise SetupError(
            f"there is no code {identifier!r}; `aiida-fuse2 setup` makes {CODE_LABEL!r} (`verdi code list` lists all)"
        ) from None
    except (ValueError, TypeError) as error:  # several codes whose UUIDs begin so raise a ValueError
        raise SetupError(f"the code {identifier!r} cannot be used: {error}") from error


def _code_of_label(identifier: str) -> orm.AbstractCode:
    """Return the code of a label, or of ``label@computer``, that can be used.

    Raises:
        NotExistent: if there is none.
        SetupError: if there are several.
    """
    label, _, computer = identifier.partition("@")
    builder = orm.QueryBuilder().append(orm.AbstractCode, filters={"label": label}, project="*", tag="code")
    if computer:
        builder.append(orm.Computer, filters={"label": computer}, with_node="code")
    found = builder.order_by({"code": {"id": "desc"}}).all(flat=True)
    if not found:
        raise NotExistent(f"there is no code {identifier!r}")
    configured = [code for code in found if code.computer is None or code.computer.is_configured]
    for narrower in (
        [code for code in found if not code.is_hidden],
        configured,
        [code for code in configured if not code.is_hidden],
        [code for code in configured if not code.is_hidden and is_made_here(code)],
    ):
        found = narrower or found
    if len(found) > 1:
        each = "; ".join(f"{code.full_label} (PK {code.pk}): {_program(code)}" for code in found)
        raise SetupError(f"several codes are {identifier!r}, name one by its PK or hide the others: {each}")
    return found[0]


def _program(code: orm.AbstractCode) -> str:
    return str(code.filepath_executable) if isinstance(code, orm.InstalledCode) else type(code).__name__


def code_problem(code: orm.AbstractCode) -> str | None:
    """Return the problem of a code, as far as it can be found without a connection, or None."""
    plugin = code.default_calc_job_plugin
    if plugin and not plugin.startswith(PLUGIN_PREFIX):
        return f"code {code.full_label!r} is for {plugin!r} and is not {WORKER}"
    if not isinstance(code, orm.InstalledCode):
        return None
    if not code.computer.is_configured:
        return f"the computer {code.computer.label!r} of code {code.full_label!r} is not configured"
    if code.computer.transport_type == "core.local" and not os.access(code.filepath_executable, os.X_OK):
        return f"code {code.full_label!r} points to {code.filepath_executable}, which is not a program (any more)"
    return None


def calculator_problem(code: orm.AbstractCode, calculator: str) -> str | None:
    """Return why a calculator cannot run, if the code is that of this environment."""
    if calculator == PAIR:  # needs nothing beyond the worker
        return None
    is_own = isinstance(code, orm.InstalledCode) and str(code.filepath_executable) == str(default_worker())
    module = CHGNET if calculator == CHGNET else calculator.rpartition(".")[0]
    if not is_own or _is_installed(calculator, module):
        return None
    hint = "pip install 'aiida-fuse2[chgnet]'" if calculator == CHGNET else f"there is no Python package {module!r}"
    return f"the calculator {calculator!r} is not installed in the environment of the code: {hint}"


def _is_installed(calculator: str, module: str) -> bool:
    """Return whether a calculator is installed; packages that have a potential by name take seconds to import."""
    packages = {model.calculator: model.package for model in all_models() if model.calculator != CHGNET}
    package = packages.get(calculator)
    return _can_be_found(module) if package is None else installed_version(package) is not None


def _can_be_found(module: str) -> bool:
    """Return whether a module exists; only its parent packages are imported."""
    try:
        return find_spec(module) is not None
    except Exception:  # noqa: BLE001 - the import of another package may raise any error
        return False
