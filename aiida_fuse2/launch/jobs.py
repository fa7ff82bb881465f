"""The jobs of given inputs: their codes, calculators and devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.relaxers.calculators import check_stress
from aiida_fuse2.core.settings import CHGNET, RelaxSettings, parse_settings
from aiida_fuse2.environment.software import ask_worker
from aiida_fuse2.parsers.memory import WORKER
from aiida_fuse2.protocols.models import all_models
from aiida_fuse2.query.links import SECOND_LINK
from aiida_fuse2.worker.main import INPUT_ERROR

CUDA = "cuda"

NO_DEVICE = "relax.settings.device"
"""The device that may not exist, and the field that the worker then names."""


def job_ports(builder: ProcessBuilder) -> list[Any]:
    """Return the inputs of each tier of a search, or of a refinement."""
    return [builder.tiers[key] for key in sorted(builder.tiers)]


def _all_ports(builder: ProcessBuilder) -> list[Any]:
    """Return the inputs of each tier, and those of the second potential of a search if it has one."""
    return [*job_ports(builder), *(builder.get(SECOND_LINK) or {}).values()]


def worker_jobs(builder: ProcessBuilder) -> list[tuple[orm.AbstractCode, str]]:
    """Return the worker and the calculator of each kind of job that relaxes with a calculator."""
    return [
        (ports["codes"][WORKER], ports["settings"]["calculator"])
        for ports in _all_ports(builder)
        if "calculator" in ports["settings"].get_dict()
    ]


def check_calculators(builder: ProcessBuilder) -> None:
    """Refuse calculators that cannot relax, as far as that is known here.

    Args:
        builder: builder of a search, or of a refinement.

    Raises:
        InputError: for the first one.
    """
    known = {model.calculator for model in all_models()}  # they compute stress, and take seconds to import
    for ports in _all_ports(builder):
        settings = ports["settings"].get_dict()
        if "calculator" in settings and settings["calculator"] not in known:
            check_stress(parse_settings(RelaxSettings, settings, where="relax.settings"))


def check_devices(ports: Mapping[str, Any]) -> None:
    """Ask the worker for the GPU that inputs name, if jobs start on this machine; other jobs fail when they begin.

    Raises:
        InputError: if it has none.
    """
    code = ports.get("code") or (ports.get("codes") or {}).get(WORKER)
    for name in ("settings", "relax", "tier"):
        node = ports.get(name)
        settings = node.get_dict() if isinstance(node, orm.Dict) else {}
        if (
            code is None
            or settings.get("device") != CUDA
            or (settings.get("calculator") != CHGNET and settings.get("weights") is None)
            or not runs_here(code)
        ):
            continue
        options = ports.get("options") or ports.get("metadata", {}).get("options")
        options = options.get_dict() if isinstance(options, orm.Dict) else options
        status, _, errors = ask_worker(code, ["--device", CUDA], options)
        if status == INPUT_ERROR and NO_DEVICE in errors:
            raise InputError(NO_DEVICE, CUDA, f"{code.full_label} finds no CUDA device on this machine; use 'cpu'")
    for inner in ports.values():
        if isinstance(inner, Mapping):
            check_devices(inner)


LOCAL_TRANSPORT = "core.local"


DIRECT_SCHEDULER = "core.direct"
"""Scheduler of a computer whose jobs start at once, however many there are."""


def runs_here(code: orm.AbstractCode) -> bool:
    """Return whether jobs of a code start on this machine, without a queue."""
    computer = code.computer
    is_here = computer is not None and computer.transport_type == LOCAL_TRANSPORT
    return is_here and computer.scheduler_type == DIRECT_SCHEDULER
