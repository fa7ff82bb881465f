"""Versions of the software, as inputs of processes, so that AiiDA's caching distinguishes them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from aiida import orm
from aiida.manage.caching import get_use_cache

from aiida_fuse2.worker.software import software_versions

JOBS = (
    "aiida.calculations:fuse2.relax",
    "aiida.calculations:fuse2.finish",
    "aiida.calculations:fuse2.generate",
    "aiida.calculations:fuse2.gulp.optimize",
)
"""Identifiers by which the user switches on caching of the jobs."""

OF_JOBS = frozenset({"chgnet", "hyperopt", "megnet", "tensorflow", "tf-keras", "torch"})
"""Packages that only jobs use."""

ANSWER_TIMEOUT = 60
"""Longest time that the worker may take to print its versions, s."""


@cache
def engine_software() -> dict[str, str]:
    """Return the versions of the packages that decide the results of calcfunctions, by name.

    They are read once in a process, since it imports each package once, and reading them takes 0.1 s.
    """
    versions = software_versions()
    return {name: number for name, number in versions.items() if name not in OF_JOBS}


def software_node(known: str | None) -> orm.Dict:
    """Return the versions of the packages of this process as a node; the node stays the same while the versions do.

    Args:
        known: UUID of the node that the process had before, or None.
    """
    versions = engine_software()
    node: orm.Dict | None = None if known is None else orm.load_node(known)
    if node is None or node.get_dict() != versions:  # the latter if the daemon was restarted with others
        node = orm.Dict(versions).store()
    return node


def is_caching_used() -> bool:
    """Return whether a job may come from the cache."""
    return any(get_use_cache(identifier=identifier) for identifier in JOBS)


def worker_software(
    code: orm.AbstractCode, *, tier: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
) -> dict[str, str] | None:
    """Ask the worker for the versions of the packages on its computer.

    Args:
        code: command ``aiida-fuse2-worker``.
        tier: settings of the relaxation, whose calculator is then among them.
        options: options of the job, which may set up its environment.

    Returns:
        Versions by name, or None if the worker cannot be asked or does not find the calculator.
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
        code: command ``aiida-fuse2-worker``.
        words: further arguments.
        options: options of the job, which may set up its environment.

    Returns:
        Exit code, output and errors; None and empty texts if it cannot be asked.
    """
    options = options or {}
    variables = [f"export {name}={shlex.quote(str(v))}" for name, v in options.get("environment_variables", {}).items()]
    prepended = [code.computer.get_prepend_text(), code.prepend_text, options.get("prepend_text", "")]
    lines = [*variables, *prepended, shlex.join([str(code.get_executable()), "versions", *words])]
    try:
        with code.computer.get_transport() as transport:
            return transport.exec_command_wait("\n".join(filter(None, lines)), timeout=ANSWER_TIMEOUT)
    except Exception:  # noqa: BLE001 - a connection may raise any error: the versions are not known then
        return None, "", ""


def add_worker_software(inputs: dict[str, Any], *, code: orm.AbstractCode, tier: Mapping[str, Any]) -> None:
    """Add the versions of the worker to the inputs of a job that may come from the cache.

    Args:
        inputs: inputs of the job.
        code: code of the worker.
        tier: settings of the relaxation.
    """
    if not is_caching_used():
        return
    versions = worker_software(code, tier=tier if "calculator" in tier else None, options=inputs["metadata"]["options"])
    add_versions(inputs, versions)


def add_versions(inputs: dict[str, Any], versions: dict[str, str] | None) -> None:
    """Add versions of the worker to the inputs of a job.

    Args:
        inputs: inputs of the job.
        versions: versions by name, or None if they are not known: the job is then not cached.
    """
    if versions is None:  # unknown versions cannot be distinguished
        inputs["metadata"]["disable_cache"] = True
    else:
        inputs["software"] = orm.Dict(versions)
