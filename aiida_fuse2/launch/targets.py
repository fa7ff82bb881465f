"""Known structures that a search is to find, read from files."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from aiida import orm
from ase import Atoms

from aiida_fuse2.core.errors import InputError, printable
from aiida_fuse2.core.settings import SearchSettings
from aiida_fuse2.io.structures import read_structures, warn_of
from aiida_fuse2.query.target_checks import target_misfit

MAX_NAME_LENGTH = 40
"""Longest name of a target."""


def read_target(path: Path, settings: SearchSettings) -> Atoms:
    """Return a known structure for the composition of a search.

    Args:
        path: CIF, POSCAR or extended XYZ file with one structure.
        settings: settings of the search.

    Raises:
        InputError: if the file cannot be read, holds several structures, one of another composition, or one that the
            checks of every trial refuse.
    """
    found = read_structures([path])
    warn_of(found)
    structures = [structure.atoms for structure in found if structure.atoms is not None]
    if not structures:
        problem = found[0].problem if found else None
        raise InputError("target", printable(path), problem or "it holds no structure")
    if len(structures) > 1:
        raise InputError("target", printable(path), f"holds {len(structures)} structures; give each in a file")
    for other in found:
        if other.problem is not None:
            warnings.warn(f"{other.name}: {other.problem}", UserWarning, stacklevel=2)
    if settings.unit.z_of(structures[0]) is None:
        expected = f"the search is one for {settings.unit.formula}"
        raise InputError("target", structures[0].get_chemical_formula(), expected)
    reason = target_misfit(settings, structures[0])
    if reason is not None:
        raise InputError("target", printable(path), reason)
    return structures[0]


def name_of(path: Path) -> str:
    """Return the name of the target in a file: that of the file, in characters allowed in a link."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", path.stem).strip("_")[:MAX_NAME_LENGTH].rstrip("_")
    return name or "target"


def targets_of_files(paths: Sequence[Path], settings: SearchSettings) -> dict[str, orm.StructureData]:
    """Return the targets in files by name, not stored yet.

    Args:
        paths: paths of the files.
        settings: settings of the search.

    Raises:
        InputError: if one cannot be read, or two have one name.
    """
    nodes: dict[str, orm.StructureData] = {}
    for path in paths:
        name = name_of(path)
        if name in nodes:
            raise InputError("--target", printable(path), f"there is a target {name!r} already; rename the file")
        nodes[name] = orm.StructureData(ase=read_target(path, settings))
        nodes[name].label = f"target {name}"
    return nodes
