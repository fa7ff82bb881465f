"""The calcfunction that makes the results of a batch from processes of one structure each."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import calcfunction
from ase import Atoms

from aiida_fuse2.core.decision import CONVERGED
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.relaxers import RelaxedStructure
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.core.tiers import SingleTierSettings, computed_structure
from aiida_fuse2.worker.files import select_trials, to_extxyz, trials_from_text
from aiida_fuse2.worker.names import RELAXED_FILE

from .base import SingleTier
from .registry import load_tier

RESULTS_PREFIX = "results_"
STRUCTURE_PREFIX = "structure_"


def load_single_tier(name: str) -> type[SingleTier]:
    """Return a tier that takes a process for each structure.

    Raises:
        InputError: where it is none, or is one of another kind.
    """
    tier = load_tier(name)
    if not issubclass(tier, SingleTier):
        raise InputError("tiers", name, "relaxes batches")
    return tier


@calcfunction
def gather(
    tier: orm.Str, settings: orm.Dict, trials: orm.SinglefileData, ended: orm.Dict, **nodes: orm.Data
) -> dict[str, orm.Data]:
    """Return results as ``fuse2.relax`` has them from processes of one structure each (``fuse2.gather``).

    Args:
        tier: its name.
        settings: of the tier.
        trials: of the tier.
        ended: status, detail and costs of each structure by label, as its process ended (``TierResult.ended``).
        nodes: ``results_LABEL``, an output that the energy is read from, and ``structure_LABEL``, as far as there
            are some.

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
        atoms = trial.atoms if structure is None else structure.get_ase()
        values = {}
        if results is not None:
            values = kind.values(results.get_dict(), pressure=parsed.pressure, volume=atoms.get_volume())
        found = _computed(ended[label], atoms, values, parsed)
        rows[label] = found.to_dict()
        frames.append((found.atoms, {"label": label, "status": found.status}))
    return {
        "results": orm.Dict({"by_label": rows, "software": {}}),
        "relaxed": orm.SinglefileData.from_string(to_extxyz(frames), filename=RELAXED_FILE),
    }


def _computed(ended: list[Any], atoms: Atoms, values: dict[str, Any], settings: SingleTierSettings) -> RelaxedStructure:
    """Return the result of a structure; a failed one keeps its costs."""
    status, detail, costs = ended
    energy = values.pop("energy", None)
    values |= costs
    if status == CONVERGED and energy is not None:
        return computed_structure(atoms, float(energy), settings, values)
    if status == CONVERGED:
        status, detail = "no_energy", "its process has no energy among its outputs"
    return RelaxedStructure(status, detail, atoms, values, None)
