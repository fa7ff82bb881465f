"""Versions of everything that decides the results of a job."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.generators import registry as generators
from aiida_fuse2.core.moves import registry as moves
from aiida_fuse2.core.potentials.chgnet.build import best_instruction_set
from aiida_fuse2.core.potentials.installed import found_weights, sha256_of
from aiida_fuse2.core.settings import CHGNET, PAIR, RelaxSettings
from aiida_fuse2.protocols.models import find_model

PACKAGES = (
    "aiida-fuse2",
    "ase",
    "chgnet",
    "hyperopt",
    "matscipy",
    "megnet",
    "numpy",
    "phonopy",
    "pymatgen",
    "pyxtal",
    "scipy",
    "spglib",
    "tensorflow",
    "tf-keras",
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
    return found | _versions_of_others()


def _versions_of_others() -> dict[str, str]:
    """Return the versions of other packages that bring moves or generators, by name."""
    points = [point for group in (generators.GROUP, moves.GROUP) for point in entry_points(group=group)]
    found = {point.dist.name: point.dist.version for point in points if point.dist is not None}
    return {
        name.replace(".", "-"): number for name, number in sorted(found.items())
    }  # AiiDA accepts no keys with a dot


def calculator_versions(calculator: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return values that distinguish versions of a calculator, by name; none for CHGNet and ``pair``.

    That is the version of its package, if it belongs to one, and hashes of its source file, which may be the user's
    own, and of each file that is named in its arguments.

    Args:
        calculator: calculator from the settings of the relaxation: ``chgnet`` or the import path of a class.
        arguments: arguments of the class.

    Raises:
        InputError: if there is no such module.
    """
    if calculator in {CHGNET, PAIR}:
        return {}
    module = calculator.rpartition(".")[0]
    found = {name: version(name) for name in packages_distributions().get(module.partition(".")[0], ())}
    files = {"source of the calculator": _source(module)}
    files |= {f"file of {name}": Path(value) for name, value in arguments.items() if isinstance(value, str)}
    found |= {name: sha256_of(path) for name, path in files.items() if _is_file(path)}
    return {name.replace(".", "-"): value for name, value in found.items()}  # AiiDA accepts no keys with a dot


def weights_versions(settings: RelaxSettings) -> dict[str, str]:
    """Return version and SHA-256 of a potential as they are installed, by name; none where it has no weights.

    Args:
        settings: settings of the relaxation.

    Raises:
        InputError: if they are not installed, or are others than those of the settings, or than the published CHGNet.
    """
    if settings.weights is not None:
        found = found_weights(settings.weights)
    elif settings.calculator == CHGNET:
        published = find_model(f"{CHGNET}-{settings.model}")
        found = found_weights(published.weights_with(None, None))
    else:
        return {}
    versions = {found.package.replace(".", "-"): found.version, "weights": found.sha256}
    return {name: value for name, value in versions.items() if value is not None}


def _source(module: str) -> Path:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        expected = "there is no such module in the environment of the worker"
        raise InputError("relax.settings.calculator", module, expected)
    return Path(spec.origin)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long for a name, or with a null character
        return False
