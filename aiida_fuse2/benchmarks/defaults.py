"""The data files of the benchmarks: defaults and target energies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from aiida_fuse2.core.chemistry.composition import FormulaUnit, parse_composition
from aiida_fuse2.core.errors import InputError, one_line

MAX_TARGETS_LENGTH = 100_000
"""Longest file of targets that is read, characters."""

FORM = "must be a YAML file with 'targets: {SrTiO3: -8.4236, ...}', eV/atom"


@cache
def defaults(benchmark: str) -> Mapping[str, Any]:
    """Return the defaults of a benchmark: ``relax``, ``search``, ``csp`` or ``potentials``."""
    found: Mapping[str, Any] = yaml.safe_load((files(__package__) / "defaults.yaml").read_text())[benchmark]
    return found


def _key(unit: FormulaUnit) -> frozenset[tuple[str, int]]:
    return frozenset(unit.counts)


@dataclass(frozen=True)
class Targets:
    """Energies that searches should reach.

    Attributes:
        energies: eV/atom by composition, in any order of its elements.
        model: version of CHGNet that they are for; None if the user says that they are for these searches.
    """

    energies: Mapping[frozenset[tuple[str, int]], float]
    model: str | None

    def of(self, composition: str) -> float | None:
        """Return the energy for a composition, eV/atom, or None."""
        return self.energies.get(_key(parse_composition(composition)))


def read_targets(path: Path | None = None) -> Targets:
    """Read target energies.

    Args:
        path: YAML file; that of this package if None.

    Raises:
        InputError: if the file cannot be read or is no file of targets.
    """
    if path is None:
        text = (files(__package__) / "targets.yaml").read_text()
        return _parse_targets(text, "targets.yaml", ours=True)
    try:
        if not path.is_file():
            raise InputError("--targets", str(path), "is not a file" if path.exists() else "there is no such file")
        with path.open(encoding="utf-8") as stream:
            text = stream.read(MAX_TARGETS_LENGTH + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("--targets", str(path), f"cannot be read: {error}") from error
    return _parse_targets(text, str(path), ours=False)


def _parse_targets(text: str, name: str, *, ours: bool) -> Targets:
    """Return the targets in a text.

    Raises:
        InputError: if it holds none.
    """
    if len(text) > MAX_TARGETS_LENGTH:
        raise InputError("--targets", name, f"is longer than {MAX_TARGETS_LENGTH} characters")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError("--targets", name, f"{FORM} ({one_line(error)})") from error
    energies = content.get("targets") if isinstance(content, dict) else None
    if not isinstance(energies, dict) or not energies:
        raise InputError("--targets", name, FORM)
    found = {}
    for composition, energy in energies.items():
        if not isinstance(energy, int | float) or isinstance(energy, bool) or not -1e6 < energy < 1e6:
            raise InputError(f"--targets: {composition}", energy, "must be an energy, eV/atom")
        found[_key(parse_composition(str(composition)))] = float(energy)
    return Targets(found, str(content["model"]) if ours else None)
