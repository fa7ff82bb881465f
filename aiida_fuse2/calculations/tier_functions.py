"""Calcfunctions between the tiers of a relaxation. AiiDA's caching hashes this file: it only converts nodes.

They keep the provenance unbroken: the trials of a tier come from the previous tier, and the result of a structure
comes from all tiers.
"""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.relaxers.tiers import joined_rows, program_versions
from aiida_fuse2.core.search.trials import Trial
from aiida_fuse2.io.names import RELAXED_FILE, TRIALS_FILE
from aiida_fuse2.io.trials import from_extxyz, select_trials, to_extxyz, trials_from_text, trials_to_text

RESULTS_PREFIX = "results_"
RELAXED_PREFIX = "relaxed_"


@calcfunction
def next_trials(trials: orm.SinglefileData, results: orm.Dict, relaxed: orm.SinglefileData) -> orm.SinglefileData:
    """Return the structures that a tier has relaxed as trials of the next one (``fuse2.next_trials``).

    Args:
        trials: trials of the tier; labels, parents and everything except the geometry stay.
        results: results of the tier. Trials that failed in it are omitted.
        relaxed: last geometries of the tier.
    """
    frames = {str(frame.info["label"]): frame for frame in from_extxyz(relaxed.get_content())}
    passed = [
        Trial(trial.info, frames[trial.info.label])
        for trial in trials_from_text(trials.get_content())
        if results["by_label"].get(trial.info.label, {}).get("status") == CONVERGED
    ]
    return orm.SinglefileData.from_string(trials_to_text(passed), filename=TRIALS_FILE)


@calcfunction
def split_trials(trials: orm.SinglefileData, labels: orm.List | None = None) -> dict[str, orm.StructureData]:
    """Return trials as structures by label, for a tier that takes one at a time (``fuse2.split_trials``).

    Args:
        trials: of the tier.
        labels: labels of the trials to return; all by default.
    """
    wanted = select_trials(
        trials_from_text(trials.get_content()), labels.get_list() if isinstance(labels, orm.List) else None
    )
    return {trial.info.label: orm.StructureData(ase=trial.atoms) for trial in wanted}


@calcfunction
def join_tiers(names: orm.List, **nodes: orm.Data) -> dict[str, orm.Data]:
    """Return one result per structure from its results in all tiers (``fuse2.join_tiers``).

    Args:
        names: names of the tiers, in their order.
        nodes: ``results_NN`` and ``relaxed_NN`` of each tier that has relaxed anything.

    Returns:
        ``results``: a row for each structure, by label, and the versions of the software of each tier;
        ``relaxed``: the last geometry of each.
    """
    by_tier: list[tuple[str, dict[str, dict[str, Any]]]] = []
    software: dict[str, Any] = {}
    geometries: dict[str, Any] = {}
    for position, name in enumerate(names.get_list()):
        results = nodes.get(f"{RESULTS_PREFIX}{position:02d}")
        by_tier.append((name, {} if results is None else results["by_label"]))
        if results is None:
            continue
        programs = program_versions(results["by_label"].values())
        software[f"{position:02d}_{name}"] = programs | results.get_dict().get("software", {})
        relaxed = from_extxyz(nodes[f"{RELAXED_PREFIX}{position:02d}"].get_content())
        geometries |= {str(frame.info["label"]): frame for frame in relaxed}
    rows = joined_rows(by_tier)
    frames = [(geometries[label], {"label": label, "status": row["status"]}) for label, row in rows.items()]
    return {
        "results": orm.Dict({"by_label": rows, "software": software}),
        "relaxed": orm.SinglefileData.from_string(to_extxyz(frames), filename=RELAXED_FILE),
    }
