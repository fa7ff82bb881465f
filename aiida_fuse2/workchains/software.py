"""Versions of the software, as inputs of processes: AiiDA's caching must tell them apart."""

from __future__ import annotations

import json
import shlex

from aiida import orm
from aiida.manage.caching import get_use_cache

from aiida_fuse2.worker.software import software_versions

JOBS = ("aiida.calculations:fuse2.relax", "aiida.calculations:fuse2.generate")
"""Identifiers by which the user switches caching of the jobs on."""

ANSWER_TIMEOUT = 60
"""How long the worker may take to print its versions, s."""


def engine_software() -> dict[str, str]:
    """Return the versions of the packages that decide what calcfunctions return, by name."""
    versions = software_versions()
    return {name: number for name, number in versions.items() if name not in {"chgnet", "torch"}}


def is_caching_used() -> bool:
    """Tell whether a job may come out of the cache."""
    return any(get_use_cache(identifier=identifier) for identifier in JOBS)


def worker_software(code: orm.AbstractCode) -> dict[str, str] | None:
    """Ask the worker for the versions of the packages on its computer.

    Args:
        code: the command ``aiida-fuse2-worker``.

    Returns:
        Version by name, or None where it cannot be asked.
    """
    lines = [code.computer.get_prepend_text(), code.prepend_text, shlex.join([str(code.get_executable()), "versions"])]
    try:
        with code.computer.get_transport() as transport:
            status, output, _ = transport.exec_command_wait("\n".join(filter(None, lines)), timeout=ANSWER_TIMEOUT)
        answer = json.loads(output.splitlines()[-1]) if status == 0 else None
    except Exception:  # noqa: BLE001 - whatever a connection raises: the versions are not known then
        return None
    return answer if isinstance(answer, dict) else None
