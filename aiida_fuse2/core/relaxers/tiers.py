"""Tiers of relaxation: the results of each tier for a structure, and of all tiers together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ase import Atoms
from pydantic import Field

from aiida_fuse2.core.crystal.uniqueness import fingerprint
from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.settings import NotNegative, Positive, Settings, Symprecs

from .driver import RelaxedStructure, check_connected, describe
from .energies import check_energy
from .failures import CONVERGED
from .watch import check_contacts, check_geometry

TIERS = "tiers"
"""Key of a row with the results of each tier."""

TIER = "tier"
"""Key of a row with the name of the tier in which the structure ended."""

SUMMED = ("cpu_seconds", "evaluations", "steps")
"""Values of a row that are sums over all tiers."""

SHOWN = ("status", "energy", "cpu_seconds", "evaluations")
"""Values of each tier that the history contains."""


NOT_ALL_MINIMA = "saddle points and shallow slopes may be among them"
"""What a limit on forces does not exclude."""


def relaxed_to(program: str, settings: Mapping[str, Any]) -> str:
    """Return how tightly a tier relaxes structures and with which program, such as ``0.05 eV/Å with CHGNet 0.3.0``.

    Args:
        program: name of the program, for people.
        settings: settings of the tier; a tier of another package without ``fmax`` has its own criterion.
    """
    if "max_gnorm" in settings:
        limit = f"GULP's tolerances or a gradient norm of {settings['max_gnorm']:g}"
    elif "fmax" in settings:
        limit = f"{settings['fmax']:g} eV/Å"
    else:
        limit = "its own criterion"
    if settings.get("overrides"):  # of the protocol of its plugin, which take precedence
        limit += " (unless its overrides say otherwise)"
    if settings.get("relax_cell") is False:
        limit += " in cells that were kept"
    return f"{limit} with {program}"


class SingleTierSettings(Settings):
    """Settings of every tier that relaxes each structure in a process of its own, besides those of its program."""

    pressure: float = Field(
        ge=-1000, le=10000, description="External pressure, GPa; with a pressure, enthalpies are compared."
    )
    min_contact: NotNegative = Field(
        le=1.0,
        description="Shortest distance in a relaxed structure, as a fraction of covalent radii; below it has failed.",
    )
    isolated_distance: Positive = Field(
        le=10.0, description="Distance within which an atom must have a neighbour, else it is isolated, Å."
    )
    report_symprec: Symprecs = Field(description="Tolerances for the space groups, Å.")


def computed_structure(
    atoms: Atoms, energy: float, settings: SingleTierSettings, values: Mapping[str, Any], *, source: str
) -> RelaxedStructure:
    """Return the result of a structure that a program has relaxed; a structure that cannot be used has failed.

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
        check_connected(final, settings.isolated_distance)
    except RelaxationError as error:
        return RelaxedStructure(error.reason, error.detail, final, dict(values), None)
    described = describe(final, energy, settings.pressure, settings.report_symprec)
    final.wrap()
    return RelaxedStructure(CONVERGED, "", final, {**values, **described}, fingerprint(final))


def program_versions(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the versions of the programs that computed structures, by name, as far as their ``potential`` says."""
    potentials = (str(row.get("potential", "")).partition(" ") for row in rows)
    return {name: version for name, _, version in potentials if version}


def joined_rows(tiers: Sequence[tuple[str, Mapping[str, Mapping[str, Any]]]]) -> dict[str, dict[str, Any]]:
    """Return one row per structure from its rows in all tiers.

    Args:
        tiers: name and rows by label, in the order of the tiers.

    Returns:
        By label the row of the tier in which the structure ended: the last tier, or the tier in which it failed. It
        also has the name of that tier, the costs of all tiers together, and the results of each tier. A structure
        without a row in a later tier, because a job died on it, is omitted.
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
    """Return the results of each tier as flat values, e.g. ``energy_chgnet``; empty for a row without tiers.

    A tier that occurs twice has its position after its name: ``energy_pair_0``, ``energy_pair_1``.
    """
    each = row.get(TIERS) or ()
    names = [tier["name"] for tier in each]
    columns: dict[str, Any] = {}
    for position, tier in enumerate(each):
        suffix = tier["name"] if names.count(tier["name"]) == 1 else f"{tier['name']}_{position}"
        columns |= {f"{key}_{suffix}": tier[key] for key in SHOWN}
    return columns
