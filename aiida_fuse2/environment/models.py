"""Potentials by name in a profile: an environment of Python and a code of the worker for each family."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from aiida import orm

import aiida_fuse2
from aiida_fuse2.core.errors import InputError, one_line
from aiida_fuse2.core.potentials.installed import found_weights
from aiida_fuse2.core.settings import CHGNET, Weights, parse_settings
from aiida_fuse2.protocols.models import DEFAULT_CODE, Model
from aiida_fuse2.storage.disk import configuration_folder
from aiida_fuse2.tiers.base import ASE

from .codes import (
    COMPUTER_LABEL,
    WORKER,
    computer_label,
    default_worker,
    ensure_code,
    ensure_computer,
    load_code,
)
from .profile import SetupError, Step

EXTRAS_KEY = "fuse2_models"
"""Extra of a code with the potentials of its environment: name, version and SHA-256 of each."""

FOLDER = "potentials"
"""Folder of the environments, in that of AiiDA's configuration."""

REQUIREMENTS = "requirements-worker.txt"

DISTRIBUTION = "aiida-fuse2"


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A potential that jobs can use.

    Attributes:
        model: the potential.
        code: code of the worker in its environment.
        version: version of its package there, or None if it is not known.
        sha256: SHA-256 of its weights there, or None if it is not known.
    """

    model: Model
    code: orm.AbstractCode
    version: str | None
    sha256: str | None

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of relaxations: calculator, model, arguments, and the weights that jobs must find."""
        return self.model.settings_with(self.version, self.sha256)


def worker_requirements() -> Path:
    """Return the file of the packages that the worker needs: beside a checkout, or in the installed package."""
    package = Path(aiida_fuse2.__file__).parent
    beside, inside = package.parent / REQUIREMENTS, package / "worker" / "requirements.txt"
    return inside if inside.is_file() else beside


def environment_folder(family: str) -> Path:
    """Return the folder of the environment of a family on this machine."""
    return configuration_folder() / FOLDER / family


def source_text(model: Model) -> str:
    """Return what an installation fetches and from where, for people."""
    texts = [f"{', '.join(model.requirements)} and what they need, by pip"]
    weights = model.weights
    if weights is not None:
        size = "unknown size" if weights.megabytes is None else f"{weights.megabytes:g} MB"
        origin = f"part of {model.package}" if weights.url is None else f"from {weights.url}"
        texts.append(f"weights {weights.file}, {size}, {origin}")
    return "; ".join(texts)


def remote_commands(model: Model, name: str) -> list[str]:
    """Return what to run on another computer, in an environment of Python of its own.

    Args:
        model: the potential.
        name: its name, or the file of the user, as it was given.
    """
    return [
        f"pip install --no-deps -r {REQUIREMENTS} aiida_fuse2-*.whl",
        f"pip install -c {REQUIREMENTS} {shlex.join(model.requirements)}",
        f"{WORKER} weights --model {shlex.quote(Path(name).name if '/' in name else name)}",
    ]


def install(model: Model, name: str, *, python: Path | None = None, pip_args: Sequence[str] = ()) -> Iterator[Step]:
    """Install a potential on this machine, and make its code; yield each step before or when it is done.

    What is there already stays as it is.

    Args:
        model: the potential.
        name: its name, or the file of the user, as it was given.
        python: Python of an existing environment; by default one is made for the family.
        pip_args: further arguments of pip, such as the address of an index.

    Raises:
        SetupError: if a program fails; the message has its last line.
    """
    if model.code_label == DEFAULT_CODE:
        found = _found_here(model)
        if found is None:
            raise SetupError(f"{model.title} is part of the default set-up: pip install 'aiida-fuse2[chgnet]'")
        yield Step(changed=False, text=f"{model.name} is there, in the environment of {DISTRIBUTION}: {_digest(found)}")
        return
    interpreter = environment_folder(model.family) / "bin" / "python" if python is None else python
    yield Step(changed=False, text=f"{model.name} ({model.licence}): {source_text(model)}")
    if not interpreter.exists():
        if python is not None:
            raise SetupError(f"there is no program {python}")
        yield Step(changed=True, text=f"making the environment {interpreter.parent.parent}")
        _run([sys.executable, "-m", "venv", str(interpreter.parent.parent)])
        _run([str(interpreter), "-m", "pip", "install", *pip_args, "--no-deps", "-r", str(worker_requirements())])
    if not interpreter.with_name(WORKER).exists():
        _link_package(interpreter)
        yield Step(changed=True, text=f"linked {DISTRIBUTION} of this installation into it")
    constraints = ["-c", str(worker_requirements())] if python is None else []
    _run([str(interpreter), "-m", "pip", "install", *pip_args, *constraints, *model.requirements])
    answer = _run([str(interpreter), "-m", "aiida_fuse2.worker.main", "weights", "--model", name])
    found = parse_settings(Weights, json.loads(answer.splitlines()[-1]))
    yield Step(changed=True, text=f"installed {_digest(found)}")
    computer = computer_label(COMPUTER_LABEL)
    code, step = ensure_code(model.code_label, computer=computer, worker=interpreter.with_name(WORKER).absolute())
    yield step
    if step.is_problem:
        return
    record(code, model, found.version, found.sha256)


def remote_code(model: Model, computer: str, worker: Path | None) -> tuple[orm.AbstractCode, Step]:
    """Make the code of a potential on a computer where it is, or will be, installed by hand.

    Args:
        model: the potential.
        computer: label of the computer.
        worker: absolute path of ``aiida-fuse2-worker`` there.

    Raises:
        SetupError: if there is no such computer, or the path is missing.
    """
    problem = ensure_computer(computer)
    if problem.is_problem:
        raise SetupError(problem.text)
    code, step = ensure_code(model.code_label, computer=computer, worker=worker)
    record(code, model, None, None)
    return code, step


def installed_or_none(model: Model) -> Installed | None:
    """Return a potential with its code, or None if it is not installed, or several codes have it."""
    try:
        return find_installed(model, model.name)
    except SetupError:
        return None


def record(code: orm.AbstractCode, model: Model, version: str | None, sha256: str | None) -> None:
    """Store in a code that the environment of its worker has a potential."""
    known = [entry for entry in _records(code) if entry.get("name") != model.name]
    entry = {"name": model.name, "package": model.package, "version": version, "sha256": sha256}
    code.base.extras.set(EXTRAS_KEY, [*known, entry])


def find_installed(model: Model, name: str, identifier: str | None = None) -> Installed:
    """Return a potential with the code of the worker that has it.

    Args:
        model: the potential.
        name: its name, or the file of the user, as it was given.
        identifier: code that the user names; by default that of the potential, or the default code if its environment
            has the potential.

    Raises:
        SetupError: if it is not installed; the message says how to do it.
    """
    if identifier is not None:
        return _installed(model, load_code(identifier))
    if model.code_label != DEFAULT_CODE and _exists(model.code_label):
        code = load_code(model.code_label)
        if any(entry.get("name") == model.name for entry in _records(code)):
            return _installed(model, code)
    elif (is_here := _found_here(model) is not None) or model.code_label == DEFAULT_CODE:
        code = load_code(DEFAULT_CODE)
        if is_here or not _is_own(code):  # another environment has what it was set up with
            return _installed(model, code)
    raise SetupError(f"the potential {model.name} is not installed: `aiida-fuse2 model install {name}`")


def tier_of_model(model: Model) -> str:
    """Return the name of the tier that computes a potential by name."""
    return CHGNET if model.calculator == CHGNET else ASE


def check_elements(model: Model, elements: Collection[str]) -> None:
    """Refuse elements that a potential by name was not trained with.

    Raises:
        InputError: it names them.
    """
    unknown = sorted(set(elements) - model.elements)
    if unknown:
        raise InputError("--model", model.name, f"was not trained with {', '.join(unknown)}")


def _exists(label: str) -> bool:
    return orm.QueryBuilder().append(orm.AbstractCode, filters={"label": label}).count() > 0


def _installed(model: Model, code: orm.AbstractCode) -> Installed:
    """Return a potential with what is known of it where a code runs."""
    known = next((entry for entry in _records(code) if entry.get("name") == model.name), None)
    if known is None and _is_own(code):
        found = _found_here(model)
        known = None if found is None else found.model_dump()
    known = known or {}
    return Installed(model=model, code=code, version=known.get("version"), sha256=known.get("sha256"))


def _records(code: orm.AbstractCode) -> list[dict[str, Any]]:
    """Return the potentials that are recorded in a code; an archive may hold anything in their place."""
    found = code.base.extras.get(EXTRAS_KEY, [])
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _is_own(code: orm.AbstractCode) -> bool:
    return isinstance(code, orm.InstalledCode) and str(code.filepath_executable) == str(default_worker())


def _found_here(model: Model) -> Weights | None:
    """Return what this environment has of a potential, or None if it lacks it, or has something else."""
    try:
        return found_weights(model.weights_with(None, None))
    except (InputError, ImportError, ValueError):
        return None


def _digest(found: Weights) -> str:
    sum_of = "" if found.sha256 is None else f", SHA-256 of its weights {found.sha256}"
    return f"{found.package} {found.version}{sum_of}"


def _run(command: Sequence[str]) -> str:
    """Run a program and return its output.

    Raises:
        SetupError: if it fails.
    """
    done = subprocess.run(list(command), capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
        raise SetupError(f"`{shlex.join(command)}` failed: {one_line(said)}")
    return done.stdout


def _link_package(python: Path) -> None:
    """Make this installation of the package, and its worker, part of another environment.

    The package itself is linked, so that jobs there run what submits them; name, version and entry points are copied.
    """
    answer = _run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
    target = Path(answer.strip())
    if target == Path(sysconfig.get_path("purelib")):
        return
    package = target / aiida_fuse2.__name__
    if not package.exists():
        package.symlink_to(Path(aiida_fuse2.__file__).parent, target_is_directory=True)
        known = distribution(DISTRIBUTION)
        folder = target / f"{aiida_fuse2.__name__}-{known.version}.dist-info"
        folder.mkdir(exist_ok=True)
        for name in ("METADATA", "entry_points.txt"):
            (folder / name).write_text(known.read_text(name) or "")
    worker = python.with_name(WORKER)
    lines = [f"#!{python.absolute()}", "import sys", "from aiida_fuse2.worker.main import main", "sys.exit(main())"]
    worker.write_text("\n".join(lines) + "\n")
    worker.chmod(0o755)
