"""The calcfunction that makes the results of a batch from processes of one structure each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiida import orm
from aiida.engine import calcfunction
from ase import Atoms

from aiida_fuse2.core.errors import InputError, error_text, one_line, storable
from aiida_fuse2.core.relaxers import RelaxedStructure
from aiida_fuse2.core.relaxers.failures import CONVERGED, Failure
from aiida_fuse2.core.relaxers.results import same_atoms
from aiida_fuse2.core.relaxers.tiers import SingleTierSettings, computed_structure
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.io.names import RELAXED_FILE
from aiida_fuse2.io.trials import select_trials, to_extxyz, trials_from_text

from .base import SingleTier, TierResult
from .registry import load_tier

RESULTS_PREFIX = "results_"
STRUCTURE_PREFIX = "structure_"


def load_single_tier(name: str) -> type[SingleTier]:
    """Return a tier that takes a process for each structure.

    Raises:
        InputError: if there is no such tier, or it is of another kind.
    """
    tier = load_tier(name)
    if not issubclass(tier, SingleTier):
        raise InputError("tiers", name, "relaxes batches")
    return tier


def collected(tier: type[SingleTier], node: orm.ProcessNode) -> TierResult:
    """Return the result of a process; outputs that the tier cannot read are a bad result.

    Args:
        tier: tier of the process.
        node: process that has ended.
    """
    try:
        found = tier.collect(node)
        storable(found.ended)
    except Exception as error:  # noqa: BLE001 - the outputs are those of another plugin, whatever it read
        return TierResult(status=Failure.BAD_RESULT, detail=error_text(error))
    return replace(found, detail=one_line(found.detail))


@calcfunction
def gather(
    tier: orm.Str, settings: orm.Dict, trials: orm.SinglefileData, ended: orm.Dict, **nodes: orm.Data
) -> dict[str, orm.Data]:
    """Return results in the form of ``fuse2.relax`` from processes of one structure each (``fuse2.gather``).

    Args:
        tier: name of the tier.
        settings: settings of the tier.
        trials: trials of the tier.
        ended: status, detail and costs of each structure by label (``TierResult.ended``).
        nodes: ``results_LABEL``, the output from which the energy is read, and ``structure_LABEL``, if there
            are any.

    Returns:
        ``results``: a row for each structure by label; ``relaxed``: last geometries.
    """
    kind = load_single_tier(tier.value)
    parsed = parse_settings(kind.settings_model, settings.get_dict())
    rows: dict[str, dict[str, Any]] = {}
    frames = []
    for trial in select_trials(trials_from_text(trials.get_content()), list(ended.get_dict())):
        label = trial.info.label
        results, structure = nodes.get(RESULTS_PREFIX + label), nodes.get(STRUCTURE_PREFIX + label)
        atoms, values, end = trial.atoms, {}, ended[label]
        try:
            if structure is not None:
                atoms = _geometry(structure, trial.atoms)
            if results is not None:
                found = kind.values(results.get_dict(), pressure=parsed.pressure, volume=atoms.get_volume())
                values = {**storable({**found, "energy": None}), "energy": float(found["energy"])}
        except Exception as error:  # noqa: BLE001 - the outputs are those of another plugin, whatever it read
            end = [Failure.BAD_RESULT, error_text(error), end[2]] if end[0] == CONVERGED else end
        relaxed = _computed(end, atoms, values, parsed, tier.value)
        rows[label] = relaxed.to_dict()
        frames.append((relaxed.atoms, {"label": label, "status": relaxed.status}))
    return {
        "results": orm.Dict({"by_label": rows, "software": {}}),
        "relaxed": orm.SinglefileData.from_string(to_extxyz(frames), filename=RELAXED_FILE),
    }


def _geometry(structure: orm.StructureData, start: Atoms) -> Atoms:
    """Return the geometry of a relaxed structure.

    Raises:
        ValueError: if its atoms differ from those of the trial.
    """
    atoms: Atoms = structure.get_ase()
    if not same_atoms(atoms, start):
        raise ValueError(f"the geometry is one of {atoms.get_chemical_formula()}, not {start.get_chemical_formula()}")
    return atoms


def _computed(
    ended: list[Any], atoms: Atoms, values: dict[str, Any], settings: SingleTierSettings, tier: str
) -> RelaxedStructure:
    """Return the result of a structure; a failed one keeps its costs.

    Args:
        ended: see ``TierResult.ended``.
        atoms: last geometry.
        values: see ``SingleTier.values``.
        settings: settings of the tier.
        tier: name of the tier.
    """
    status, detail, costs = ended
    energy = values.pop("energy", None)
    values |= costs
    if status == CONVERGED and energy is not None:
        return computed_structure(atoms, energy, settings, values, source=tier)
    if status == CONVERGED:
        status, detail = "no_energy", "its process has no energy among its outputs"
    return RelaxedStructure(status, detail, atoms, values, None)
