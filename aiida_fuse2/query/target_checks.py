"""Checks of known structures that a search is to find."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiida import orm
from ase import Atoms

from aiida_fuse2.calculations.conversions import misfit
from aiida_fuse2.core.crystal.validity import Rejection
from aiida_fuse2.core.errors import InputError, one_line
from aiida_fuse2.core.generators.provided import ProvidedRejection
from aiida_fuse2.core.search.targets import relaxed_cell
from aiida_fuse2.core.settings import SearchSettings

from .links import TARGETS_LINK

TARGETS_HELP = (
    "Known structures by name. The search reports when it finds one; it can stop there (`settings.target.stop`)."
)

_NAME = re.compile(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*")


def check_targets(settings: SearchSettings, targets: Mapping[str, orm.StructureData]) -> None:
    """Refuse targets that a search cannot find.

    Args:
        settings: settings of the search.
        targets: targets by name.

    Raises:
        InputError: if one has another composition or too many atoms, fails the checks of every trial, or there are
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
    """Return why a structure is not valid as a target, in the words used for starting structures; None if it is.

    A structure with too many atoms can still be compared.

    Args:
        settings: settings of the search.
        atoms: the structure, in any cell.
    """
    reason = misfit(settings, atoms)
    if reason == Rejection.SIZE:  # its primitive cell is that of a search
        reason = misfit(settings, relaxed_cell(atoms, settings.symmetry.report_symprec[1]))
    return None if reason == Rejection.SIZE else reason
