"""Checks of what is known of a structure: contradictions are errors before anything is submitted."""

from __future__ import annotations

from aiida_fuse2.core.crystal.known import (
    ALL_GROUPS,
    cell_volume,
    covalent_volume,
    fitting_units,
    ideal_cell,
    known_lattices,
    known_volumes,
    primitive_units,
)
from aiida_fuse2.core.crystal.validity import least_packing
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import SearchSettings, parse_space_groups


def check_known(settings: SearchSettings, *, where: str = "settings") -> None:
    """Check that what is known agrees with the composition, with the limit of atoms, and with itself.

    Raises:
        InputError: for the first contradiction.
    """
    known, unit = settings.known, settings.unit
    least, most = settings.pool.min_atoms, settings.initial_limit
    allowed = primitive_units(known)
    if allowed is not None and not allowed:
        expected = f"the conventional cells of space groups {known.space_groups} have more lattice points than this"
        raise InputError(f"{where}.known.z", known.z, expected)
    if allowed is not None and not allowed & set(unit.z_values(most, least)):
        sizes = ", ".join(str(z * unit.n_atoms) for z in sorted(allowed))
        expected = f"primitive cells then have {sizes} atoms, not {least} to {most} (pool.min_atoms, max_atoms)"
        raise InputError(f"{where}.known.z", known.z, expected)
    if known.cell is not None:
        _check_cell(settings, where)
    if known.space_groups is not None and not fitting_units(unit, most, least, known.space_groups, known):
        with_z = "" if known.z is None else f" with Z = {', '.join(map(str, known.z))}"
        expected = f"none can hold {unit.formula}{with_z} in a primitive cell of {least} to {most} atoms"
        raise InputError(f"{where}.known.space_groups", known.space_groups, expected)
    volumes = known_volumes(known, unit.symbols(1))
    if volumes is None:
        return
    loosest, densest = (covalent_volume(unit) / volume for volume in reversed(volumes))
    if densest < least_packing(unit, settings.validity) or loosest > settings.validity.packing_max:
        expected = f"its structures are refused: covalent spheres then fill {loosest:.2g} to {densest:.2g} of the cell"
        raise InputError(f"{where}.known.density", known.density, expected)


def _check_cell(settings: SearchSettings, where: str) -> None:
    """Check that the known cell agrees with what else is known."""
    known, unit = settings.known, settings.unit
    groups = parse_space_groups(known.space_groups or ALL_GROUPS)
    if all(ideal_cell(known, number) is None for number in groups):
        expected = f"the known cell has the shape of none of them within {known.cell_tolerance:.2g} (cell_tolerance)"
        raise InputError(f"{where}.known.space_groups", known.space_groups, expected)
    without_density = known.model_copy(update={"density": None})
    least, most = settings.pool.min_atoms, settings.initial_limit
    if known.density is not None and known_lattices(unit, without_density, most, least):
        if not known_lattices(unit, known, most, least):
            expected = f"no Z that is allowed gives it in the known cell within {known.density_tolerance:.2g}"
            raise InputError(f"{where}.known.density", known.density, expected)
    elif not known_lattices(unit, known, most, least):
        expected = f"its primitive cells hold no {least} to {most} atoms of {unit.formula} (pool.min_atoms, max_atoms)"
        raise InputError(f"{where}.known.cell", known.cell, expected)
    volume = cell_volume(known)
    if known.z is not None and volume is not None:
        packings = [z * covalent_volume(unit) / volume for z in known.z]
        if max(packings) < least_packing(unit, settings.validity) or min(packings) > settings.validity.packing_max:
            shown = ", ".join(f"{packing:.2g}" for packing in packings)
            expected = f"structures with Z = {known.z} are refused: covalent spheres fill {shown} of it"
            raise InputError(f"{where}.known.cell", known.cell, expected)
