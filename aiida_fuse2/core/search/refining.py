"""The best structures of searches after further tiers: ranked again, beside their earlier values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ase import Atoms
from pydantic import Field

from aiida_fuse2.core.relaxers.driver import DESCRIBED
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.settings import Energy, Positive, Settings, SmallCount

from .trials import Trial, single_trial

LOST = "job_ended_early"
"""Status of a structure for which its jobs gave no result."""

REFINED = "refined"
"""Origin of the trials of a refinement."""

BEFORE = ("energy", "rank", "spacegroup_loose", "spacegroup_symbol_loose")
"""Values of a row about its structure before, with ``_before`` after the name."""

NAMES = ("protostructure", "type")
"""Names of a refined structure."""

AFTER = (*DESCRIBED, "tier", "cpu_seconds")
"""Values of a row about its refined structure."""


class RefineSettings(Settings):
    """How refined structures are compared, and how often jobs are repeated."""

    energy_window: Energy = Field(description="Largest difference of energies of equal structures, eV/atom.")
    stol: Positive = Field(le=1.0, description="Largest rms displacement over (volume per atom)^(1/3).")
    job_attempts: SmallCount = Field(description="Number of jobs that may die on a structure before it is given up.")


def refined_label(position: int) -> str:
    """Return the label of the structure at a position of the earlier ranking."""
    return f"r{position:04d}"


def refined_trial(label: str, atoms: Atoms, parent: str) -> Trial:
    """Return a structure as a trial.

    Args:
        label: label in the refinement.
        atoms: the structure.
        parent: label of the trial in its search.
    """
    return single_trial(atoms, label, origin=REFINED, parent=parent)


def rank_refined(
    before: Mapping[str, Mapping[str, Any]],
    results: Mapping[str, Mapping[str, Any]],
    same: Callable[[str, str], bool],
    settings: RefineSettings,
    *,
    name: Callable[[str], Mapping[str, str]],
) -> list[dict[str, Any]]:
    """Return refined structures, lowest energy first, then the failed ones in the earlier order.

    Args:
        before: row of each structure in the ranking that it comes from, by label: ``label``, ``rank``, ``energy``
            (eV/atom), space groups.
        results: row of each structure after the tiers, by label.
        same: returns whether two refined structures, given by labels, are one crystal.
        settings: settings of the comparison.
        name: returns names of a refined structure by its label: ``protostructure``, and ``type`` if there is a library.

    Returns:
        A row for each: ``rank`` (None if it failed, or has become a structure of lower energy, whose label is
        then ``duplicate_of``), ``delta`` (eV/atom above the lowest), status, names, and values before and after.
    """
    converged = sorted(
        (label for label in before if results.get(label, {}).get("status") == CONVERGED),
        key=lambda label: (results[label]["energy"], label),
    )
    rows: list[dict[str, Any]] = []
    unique: list[str] = []
    for label in converged:
        energy = results[label]["energy"]
        near = (u for u in unique if energy - results[u]["energy"] <= settings.energy_window)
        equal = next((other for other in near if same(other, label)), None)
        if equal is None:
            unique.append(label)
        row = _row(label, before[label], results[label]) | dict(name(label))
        row |= {"delta": energy - results[converged[0]]["energy"], "duplicate_of": equal}
        rows.append({"rank": len(unique) if equal is None else None, **row})
    failed = [label for label in before if label not in set(converged)]
    lost = {"status": LOST, "detail": ""}
    return rows + [
        {"rank": None, **_row(label, before[label], results.get(label, lost)), "delta": None, "duplicate_of": None}
        for label in failed
    ]


def tried_rows(ranked: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of ``rank_refined`` in the form of the history of a search, in the earlier order.

    A refined structure belongs to no generation, walker or move. Its ``parent`` is the label that it has in its search.

    Args:
        ranked: rows of ``rank_refined``; those of earlier versions have no names.
    """
    rows: list[dict[str, Any]] = []
    best: float | None = None
    for number, row in enumerate(sorted(ranked, key=lambda row: str(row["label"])), start=1):
        if row["status"] == CONVERGED:
            best = row["energy"] if best is None else min(best, row["energy"])
        origin = {"generation": None, "walker": None, "move": "", "origin": REFINED, "parent": row["label_before"]}
        result = {key: row[key] for key in (*AFTER, *NAMES, "status", "duplicate_of") if key in row}
        before = {f"{key}_before": row[f"{key}_before"] for key in BEFORE}
        rows.append({"number": number, "label": row["label"], **origin, **result, **before, "outcome": ""})
        rows[-1]["best_energy"] = best
    return rows


def _row(label: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    values = {
        "label": label,
        "label_before": before["label"],
        "status": after["status"],
        "detail": after.get("detail") or "",
    }
    return values | {f"{key}_before": before[key] for key in BEFORE} | {key: after.get(key) for key in AFTER}
