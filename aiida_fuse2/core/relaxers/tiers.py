"""Tiers of relaxation: what each gave of a structure, and what they gave together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ase import Atoms
from pydantic import Field

from aiida_fuse2.core.crystal.uniqueness import fingerprint
from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.settings import NotNegative, Positive, Settings, Symprecs

from .driver import RelaxedStructure, check_contacts, check_geometry, describe
from .energies import check_energy
from .failures import CONVERGED

TIERS = "tiers"
"""Key of a row with what each tier gave."""

TIER = "tier"
"""Key of a row with the name of the tier in which the structure ended."""

SUMMED = ("cpu_seconds", "evaluations", "steps")
"""Values of a row that are those of all tiers together."""

SHOWN = ("status", "energy", "cpu_seconds", "evaluations")
"""Values of each tier that the history has."""


NOT_ALL_MINIMA = "saddle points and shallow slopes may be among them"
"""What a limit of forces leaves open."""


def relaxed_to(program: str, settings: Mapping[str, Any]) -> str:
    """Return to what a tier relaxes structures and with what, such as ``0.05 eV/Å with CHGNet 0.3.0``.

    Args:
        program: what computes, for people.
        settings: of the tier; of one that another package brings, its own criterion where it has no ``fmax``.
    """
    if "max_gnorm" in settings:
        limit = f"GULP's tolerances or a gradient norm of {settings['max_gnorm']:g}"
    elif "fmax" in settings:
        limit = f"{settings['fmax']:g} eV/Å"
    else:
        limit = "its own criterion"
    if settings.get("overrides"):  # of the protocol of its plugin, which win
        limit += " (unless its overrides say otherwise)"
    if settings.get("relax_cell") is False:
        limit += " in cells that were kept"
    return f"{limit} with {program}"


class SingleTierSettings(Settings):
    """What every tier has that relaxes one structure in a process of its own; those of its program come beside it."""

    pressure: float = Field(ge=-1000, le=10000, description="External pressure, GPa; enthalpy is then what counts.")
    min_contact: NotNegative = Field(
        le=1.0, description="A relaxed structure with a shorter distance, as a fraction of covalent radii, has failed."
    )
    isolated_distance: Positive = Field(le=10.0, description="An atom with no neighbour within this is isolated, Å.")
    report_symprec: Symprecs = Field(description="Tolerances for the space groups, Å.")


def computed_structure(
    atoms: Atoms, energy: float, settings: SingleTierSettings, values: Mapping[str, Any], *, source: str
) -> RelaxedStructure:
    """Return the result of a structure that a program has relaxed; one that cannot be used has failed.

    Args:
        atoms: last geometry.
        energy: potential energy of the cell, eV.
        settings: of the tier.
        values: more plain values: ``potential``, ``cpu_seconds``, ``evaluations``, ...
        source: name of the tier; see ``energies.lowest_energy``.
    """
    final = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    try:
        check_energy(energy / len(final), final.numbers, source)
        check_geometry(final, settings.isolated_distance)
        check_contacts(final, settings.min_contact)
    except RelaxationError as error:
        return RelaxedStructure(error.reason, error.detail, final, dict(values), None)
    described = describe(final, energy, settings.pressure, settings.report_symprec)
    final.wrap()
    return RelaxedStructure(CONVERGED, "", final, {**values, **described}, fingerprint(final))


def program_versions(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the versions of the programs that computed structures, by name, as far as their ``potential`` tells."""
    potentials = (str(row.get("potential", "")).partition(" ") for row in rows)
    return {name: version for name, _, version in potentials if version}


def joined_rows(tiers: Sequence[tuple[str, Mapping[str, Mapping[str, Any]]]]) -> dict[str, dict[str, Any]]:
    """Return one row per structure from its rows in all tiers.

    Args:
        tiers: name and rows by label, in the order of the tiers.

    Returns:
        By label the row of the tier in which the structure ended: the last one, or that in which it failed. It
        also has that tier's name, costs of all tiers together, and what each tier gave. A structure that a later
        tier should have a row of and has none, since a job died on it, is left out.
    """
    joined: dict[str, dict[str, Any]] = {}
    labels = tiers[0][1] if tiers else {}
    for label in labels:
        passed: list[tuple[str, Mapping[str, Any]]] = []
        for name, rows in tiers:
            if label not in rows:
                break
            passed.append((name, rows[label]))
            if rows[label]["status"] != CONVERGED:
                break
        ended = passed[-1][1]["status"] != CONVERGED
        if ended or len(passed) == len(tiers):
            joined[label] = _joined_row(passed)
    return joined


def _joined_row(passed: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    name, last = passed[-1]
    sums = {key: sum(row.get(key) or 0 for _, row in passed) for key in SUMMED if any(key in row for _, row in passed)}
    if "cpu_seconds" in sums:
        sums["cpu_seconds"] = round(sums["cpu_seconds"], 4)
    each = [{"name": tier, **{key: row.get(key) for key in SHOWN}} for tier, row in passed]
    return {**last, **sums, TIER: name, TIERS: each}


def tier_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what each tier gave as flat values, e.g. ``energy_chgnet``; empty for a row without tiers.

    A tier that comes twice has its position behind its name: ``energy_pair_0``, ``energy_pair_1``.
    """
    each = row.get(TIERS) or ()
    names = [tier["name"] for tier in each]
    columns: dict[str, Any] = {}
    for position, tier in enumerate(each):
        suffix = tier["name"] if names.count(tier["name"]) == 1 else f"{tier['name']}_{position}"
        columns |= {f"{key}_{suffix}": tier[key] for key in SHOWN}
    return columns
