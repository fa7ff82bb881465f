"""The table of evaluation times of this machine, in the user's cache beside the native kernel."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import secrets
from collections.abc import Mapping
from pathlib import Path

from aiida_fuse2.core.errors import Fuse2Error
from aiida_fuse2.core.potentials.chgnet.build import (
    BuildError,
    best_instruction_set,
    cache_folder,
    kernel_key,
)


class CostTableError(Fuse2Error):
    """The table of this machine cannot be stored; the message says why."""


def table_path() -> Path:
    """Return the file for this machine, its processor and this version of the kernel.

    Raises:
        BuildError: if there is no folder for it.
    """
    instruction_set = best_instruction_set()
    parts = (platform.node(), _processor(), str(instruction_set), kernel_key(instruction_set))
    return cache_folder() / f"cost-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}.json"


def read_table() -> dict[int, float] | None:
    """Return the CPU time of an evaluation, s, by number of atoms; None if it was not measured, or is no table."""
    try:
        values = json.loads(table_path().read_text(encoding="utf-8"))["seconds"]
        table = {int(size): float(time) for size, time in values.items()}
    except (BuildError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    sound = table and all(size > 0 and math.isfinite(time) and time > 0 for size, time in table.items())
    return table if sound else None


def write_table(table: Mapping[int, float], potential: str) -> Path:
    """Write the table of this machine, in place of an earlier one, and return its file.

    Args:
        table: CPU time of an evaluation, s, by number of atoms.
        potential: name of the potential and of the code that computed it.

    Raises:
        CostTableError: if it cannot be written.
    """
    text = json.dumps({"potential": potential, "seconds": {str(size): time for size, time in table.items()}}) + "\n"
    try:
        path = table_path()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)  # a reader finds either the old table or the new one
    except (BuildError, OSError) as error:
        raise CostTableError(f"the table of this machine cannot be stored: {error}") from error
    return path


def _processor() -> str:
    """Return the name of the processor, or only its kind where the machine does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = next((line for line in lines if line.startswith("model name")), "")
    return named.partition(":")[2].strip() or platform.machine()
