"""Known structures that a search is to find: what the search does with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiida import orm
from ase import Atoms

from aiida_fuse2.calculations.conversions import explored_of_records, misfit
from aiida_fuse2.core.errors import InputError, one_line
from aiida_fuse2.core.generators.provided import ProvidedRejection
from aiida_fuse2.core.settings import SearchSettings
from aiida_fuse2.core.state import FoundTarget
from aiida_fuse2.core.targets import TargetFinder, relaxed_cell
from aiida_fuse2.core.validity import Rejection

from .records import TARGETS_LINK, explored_structures, generation_records

TARGETS_HELP = (
    "Known structures by name, of which the search tells when it finds them; it can stop there "
    "(`settings.target.stop`)."
)

_NAME = re.compile(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*")


def check_targets(settings: SearchSettings, targets: Mapping[str, orm.StructureData]) -> None:
    """Refuse targets that a search cannot find.

    Args:
        settings: of the search.
        targets: by name.

    Raises:
        InputError: where one has another composition or too many atoms, fails the checks of every trial, or there are
            none to stop at.
    """
    if settings.target.stop and not targets:
        expected = "there is no target to stop at: give one, e.g. --target known.cif"
        raise InputError("settings.target.stop", settings.target.stop, expected)
    for name, node in targets.items():
        field = f"{TARGETS_LINK}.{name}"
        if not _NAME.fullmatch(name):
            raise InputError(field, name, "must be letters and digits, with single underscores between them")
        try:
            atoms = node.get_ase()
        except ValueError as error:  # sites that are shared or not full
            raise InputError(field, name, f"{ProvidedRejection.PARTIAL}: {one_line(error)}") from error
        if settings.unit.z_of(atoms) is None:
            raise InputError(field, atoms.get_chemical_formula(), f"the search is one for {settings.unit.formula}")
        n_atoms = len(relaxed_cell(atoms, settings.symmetry.report_symprec[1]))
        if n_atoms > settings.max_atoms:
            expected = f"more atoms in its primitive cell than max_atoms = {settings.max_atoms}: it cannot be found"
            raise InputError(field, n_atoms, expected)
        reason = target_misfit(settings, atoms)
        if reason is not None:
            raise InputError(field, atoms.get_chemical_formula(), reason)


def target_misfit(settings: SearchSettings, atoms: Atoms) -> str | None:
    """Return why a structure is no crystal to look for, in the words that starting structures are refused with.

    One with too many atoms can be compared all the same.

    Args:
        settings: of the search.
        atoms: the structure, in any cell.
    """
    reason = misfit(settings, atoms)
    if reason == Rejection.SIZE:  # its primitive cell is that of a search
        reason = misfit(settings, relaxed_cell(atoms, settings.symmetry.report_symprec[1]))
    return None if reason == Rejection.SIZE else reason


def find_earlier(search: int, targets: Mapping[str, str], stol: float) -> dict[str, FoundTarget]:
    """Return the targets that equal a structure of the searches that one goes on from, by name.

    Args:
        search: primary key of the one that goes on.
        targets: UUIDs by name.
        stol: see ``TargetFinder``.
    """
    if not targets:
        return {}
    known = explored_structures(search)
    explored = explored_of_records(record.columns for record in generation_records(search))

    def geometry(label: str) -> Any:
        return orm.load_node(known[label]["pk"]).get_ase()

    loaded = {name: orm.load_node(uuid).get_ase() for name, uuid in targets.items()}
    return TargetFinder(loaded, geometry, stol).add_found(
        {},
        (structure for structure in explored if structure.label in known),  # an archive may have left some out
    )


def group_text(row: Mapping[str, Any]) -> str:
    """Return the space group of a row of results at the loose tolerance, as people write it."""
    return f"{row.get('spacegroup_symbol_loose') or '?'} ({row.get('spacegroup_loose') or '?'})"


def found_text(name: str, found: FoundTarget, group: str, known: Mapping[str, Any] | None, best: float | None) -> str:
    """Return what is told of a target that was found.

    Args:
        name: of the target.
        found: the structure that equals it.
        group: space group of that structure.
        known: row of results of the target as it was relaxed, or None.
        best: lowest energy of the search, eV/atom, or None.
    """
    parts = [f"target {name} found: structure {found.structure_number} ({found.label}), rms {found.rms:.3f} Å"]
    parts.append(f"{found.energy:.4f} eV/atom")
    if known is not None:
        parts.append(f"{1000 * (found.energy - known['energy']):+.1f} meV/atom from the target's own")
    if best is not None:
        parts.append(f"{1000 * (found.energy - best):+.1f} meV/atom from the lowest")
    parts.append(f"space group {group}" + ("" if known is None else f", target's {group_text(known)}"))
    return "; ".join(parts)
