"""Which version of a potential's package, and which weights, are installed in this environment."""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import DEVICE, WEIGHTS, RelaxSettings, Weights

FOLDER = "share/aiida-fuse2/weights"
"""Folder of downloaded weights inside an environment of Python: its path is no part of any settings."""

_FIELD = "relax.settings.weights"


def weights_folder() -> Path:
    """Return the folder of downloaded weights of this environment."""
    return Path(sys.prefix) / FOLDER


def weights_path(weights: Weights) -> Path | None:
    """Return the path of the weights, or None if the potential has none.

    Raises:
        InputError: if the package that has them is not installed.
    """
    if weights.file is None:
        return None
    if weights.module is None:
        return weights_folder() / weights.file
    spec = find_spec(weights.module)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise InputError(_FIELD, weights.module, "there is no such Python package where the job runs")
    return Path(folders[0]) / weights.file


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def found_weights(weights: Weights) -> Weights:
    """Return package and weights as they are installed here.

    Args:
        weights: what the settings of a relaxation ask for.

    Raises:
        InputError: if they are not installed, or are others than those asked for.
    """
    number = installed_version(weights.package)
    if number is None:
        raise InputError(f"{_FIELD}.package", weights.package, "is not installed where the job runs")
    if weights.version is not None and number != weights.version:
        expected = f"version {number} of {weights.package} is installed where the job runs: energies would not compare"
        raise InputError(f"{_FIELD}.version", weights.version, expected)
    path = weights_path(weights)
    if path is None:
        return weights.model_copy(update={"version": number})
    if not path.is_file():
        raise InputError(f"{_FIELD}.file", weights.file, f"there is no file {path}; `aiida-fuse2 model install`")
    digest = sha256_of(path)
    if weights.sha256 is not None and digest != weights.sha256:
        raise InputError(f"{_FIELD}.sha256", weights.sha256, f"{path} has {digest}: energies would not compare")
    return weights.model_copy(update={"version": number, "sha256": digest})


def filled_arguments(settings: RelaxSettings) -> dict[str, Any]:
    """Return the arguments of a calculator with the path of its weights and the device, after a check of the weights.

    Raises:
        InputError: if package or weights are others than those that the settings ask for.
    """
    path = None
    if settings.weights is not None:
        path = weights_path(found_weights(settings.weights))
    values = {WEIGHTS: None if path is None else str(path), DEVICE: settings.device}
    arguments = {
        name: values.get(value, value) if isinstance(value, str) else value
        for name, value in settings.arguments.items()
    }
    missing = [name for name, value in settings.arguments.items() if value == WEIGHTS and arguments[name] is None]
    if missing:
        raise InputError(f"relax.settings.arguments.{missing[0]}", WEIGHTS, "needs `weights` with a file")
    return arguments
