"""Versions of the software, as inputs of processes: AiiDA's caching must tell them apart."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.manage.caching import get_use_cache

from aiida_fuse2.worker.software import software_versions

JOBS = (
    "aiida.calculations:fuse2.relax",
    "aiida.calculations:fuse2.generate",
    "aiida.calculations:fuse2.gulp.optimize",
)
"""Identifiers by which the user switches caching of the jobs on."""

OF_JOBS = frozenset({"chgnet", "hyperopt", "megnet", "tensorflow", "tf-keras", "torch"})
"""Packages that only jobs use."""

ANSWER_TIMEOUT = 60
"""How long the worker may take to print its versions, s."""


def engine_software() -> dict[str, str]:
    """Return the versions of the packages that decide what calcfunctions return, by name."""
    versions = software_versions()
    return {name: number for name, number in versions.items() if name not in OF_JOBS}


def software_node(known: str | None) -> orm.Dict:
    """Return the versions of the packages of this process as a node, the same one as long as they are the same.

    Args:
        known: UUID of the node that the process had before, or None.
    """
    versions = engine_software()
    node: orm.Dict | None = None if known is None else orm.load_node(known)
    if node is None or node.get_dict() != versions:  # the latter where the daemon came back with others
        node = orm.Dict(versions).store()
    return node


def is_caching_used() -> bool:
    """Return whether a job may come out of the cache."""
    return any(get_use_cache(identifier=identifier) for identifier in JOBS)


def worker_software(
    code: orm.AbstractCode, *, tier: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
) -> dict[str, str] | None:
    """Ask the worker for the versions of the packages on its computer.

    Args:
        code: the command ``aiida-fuse2-worker``.
        tier: settings of the relaxation, whose calculator is then among them.
        options: of the job, which may set up its environment.

    Returns:
        Version by name, or None where it cannot be asked, or does not find the calculator.
    """
    words = [] if tier is None else ["--calculator", tier["calculator"], "--arguments", json.dumps(tier["arguments"])]
    status, output, _ = ask_worker(code, words, options)
    try:
        answer = json.loads(output.splitlines()[-1]) if status == 0 else None
    except (ValueError, IndexError):
        return None
    return answer if isinstance(answer, dict) else None


def ask_worker(
    code: orm.AbstractCode, words: Sequence[str], options: Mapping[str, Any] | None = None
) -> tuple[int | None, str, str]:
    """Ask the worker on its computer for versions.

    Args:
        code: the command ``aiida-fuse2-worker``.
        words: what else it is asked.
        options: of the job, which may set up its environment.

    Returns:
        Exit code, output and errors; None and nothing where it cannot be asked.
    """
    options = options or {}
    variables = [f"export {name}={shlex.quote(str(v))}" for name, v in options.get("environment_variables", {}).items()]
    prepended = [code.computer.get_prepend_text(), code.prepend_text, options.get("prepend_text", "")]
    lines = [*variables, *prepended, shlex.join([str(code.get_executable()), "versions", *words])]
    try:
        with code.computer.get_transport() as transport:
            return transport.exec_command_wait("\n".join(filter(None, lines)), timeout=ANSWER_TIMEOUT)
    except Exception:  # noqa: BLE001 - whatever a connection raises: the versions are not known then
        return None, "", ""


def add_worker_software(inputs: dict[str, Any], *, code: orm.AbstractCode, tier: Mapping[str, Any]) -> None:
    """Add the versions of the worker to the inputs of a job that may come out of the cache.

    Args:
        inputs: of the job.
        code: the worker.
        tier: settings of the relaxation.
    """
    if not is_caching_used():
        return
    versions = worker_software(code, tier=tier if "calculator" in tier else None, options=inputs["metadata"]["options"])
    add_versions(inputs, versions)


def add_versions(inputs: dict[str, Any], versions: dict[str, str] | None) -> None:
    """Add versions of the worker to the inputs of a job.

    Args:
        inputs: of the job.
        versions: by name, or None where they are not known: the job is then kept out of the cache.
    """
    if versions is None:  # what is not known cannot be told apart
        inputs["metadata"]["disable_cache"] = True
    else:
        inputs["software"] = orm.Dict(versions)
