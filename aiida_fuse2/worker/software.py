"""Versions of what decides the results of a job."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from aiida_fuse2.core.potentials.chgnet.build import best_instruction_set

PACKAGES = (
    "aiida-fuse2",
    "ase",
    "chgnet",
    "matscipy",
    "numpy",
    "pymatgen",
    "pyxtal",
    "scipy",
    "spglib",
    "torch",
)
"""Packages whose version may change a result."""


def software_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed, by name, and the processor's kind.

    The kind decides which native kernel is used, whose sums are rounded differently.
    """
    found = {"python": platform.python_version(), "processor": str(best_instruction_set())}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
