"""Which structures of a ranking are finished: the lowest, without copies, and the lowest of known structure types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from ase import Atoms

from aiida_fuse2.core.crystal.uniqueness import LATTICE_TOLERANCE
from aiida_fuse2.core.prototypes.naming import is_known_type

from .ladder import rms_displacement
from .settings import AnswerSettings

LOOKED_AT = 100
"""Structures of a ranking that are looked at, as a multiple of those to be finished: all of a default search."""

OTHER_TYPES = 2
"""Most structures of other known types that are finished, too, as a multiple of the lowest ones."""


def are_copies(a: Atoms, b: Atoms, settings: AnswerSettings) -> bool:
    """Return whether one of two structures is the other one, slightly displaced, in a cell of any size.

    Two such structures with one energy are one phase (``phases.are_one``): relaxed in a doubled cell, they keep other
    displacements, so that a search counts them as different.

    Args:
        a: relaxed structure.
        b: another one of the same composition.
        settings: settings of the answer.
    """
    large, small = (a, b) if len(a) >= len(b) else (b, a)
    if len(large) % len(small):
        return False
    volumes = [atoms.get_volume() / len(atoms) for atoms in (large, small)]
    if abs(np.log(volumes[0] / volumes[1])) > 3 * LATTICE_TOLERANCE:
        return False
    moved = rms_displacement(large, small)
    return moved is not None and moved <= settings.max_displacement


def worth_finishing(
    rows: Iterable[Mapping[str, Any]],
    load: Callable[[Mapping[str, Any]], Atoms],
    number: int,
    settings: AnswerSettings,
) -> list[dict[str, Any]]:
    """Return the lowest structures of a ranking of which no two are copies, each with the finds of its copies.

    Up to twice as many are added if they are the lowest of other known structure types: a potential that has many low
    minima about one structure hides these from the answer, and another potential may put them first.

    Args:
        rows: rows of a ranking, lowest energy first: ``energy`` (eV/atom), ``found``, ``type`` if types were named, and
            what ``load`` needs.
        load: returns the structure of a row.
        number: largest number of rows to return before those of other types are added.
        settings: settings of the answer.
    """
    chosen: list[tuple[dict[str, Any], Atoms]] = []
    types: set[str] = set()
    for row in rows:
        near = [one for one in chosen if row["energy"] <= one[0]["energy"] + settings.energy]
        name = row.get("type") or ""
        is_new_type = is_known_type(name) and name not in types
        is_wanted = len(chosen) < number or (is_new_type and len(chosen) < (1 + OTHER_TYPES) * number)
        if not near and not is_wanted:
            continue
        atoms = load(row)
        equal = next((own for own, other in near if are_copies(atoms, other, settings)), None)
        if equal is not None:
            equal["found"] += row["found"]
        elif is_wanted:
            chosen.append(({**row}, atoms))
            types.add(name)
    return [row for row, _ in chosen]
