"""Versions of what decides the results of a job."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

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
    """Return the versions of Python and of the packages that are installed, by name."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
