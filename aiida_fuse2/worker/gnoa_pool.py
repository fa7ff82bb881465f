"""The structures of ``gnoa`` in one job: assignments side by side, each written when it is finished."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from aiida_fuse2.core.generators.gnoa.assignments import (
    Assignment,
    AssignmentResult,
    Candidate,
    plan_assignments,
    run_assignment,
    z_values,
)
from aiida_fuse2.core.generators.gnoa.networks import Network, load_network
from aiida_fuse2.core.search.pool import ORIGIN
from aiida_fuse2.core.settings import GNOA, SearchSettings
from aiida_fuse2.io.names import PROGRESS_FILE

from .checkpoint import Checkpoint, atoms_from_dict, atoms_to_dict
from .processes import Lost, run_all

_NETWORKS: dict[tuple[str, Path | None], Network] = {}
"""The network of this process; it is loaded once."""


@dataclass(frozen=True)
class _Work:
    """An assignment with everything that decides its result."""

    assignment: Assignment
    settings: SearchSettings
    limit: int
    pool_number: int
    weights: Path | None


def _network(settings: SearchSettings, weights: Path | None) -> Network:
    key = (settings.gnoa.model_dump_json(), weights)
    if key not in _NETWORKS:
        _NETWORKS[key] = load_network(settings.gnoa, weights)
    return _NETWORKS[key]


def _prepare(work: _Work) -> None:
    _network(work.settings, work.weights)


def _run(work: _Work) -> tuple[str, dict[str, Any]]:
    network = _network(work.settings, work.weights)
    return network.name, _to_dict(run_assignment(work.assignment, work.settings, work.limit, work.pool_number, network))


def _to_dict(result: AssignmentResult) -> dict[str, Any]:
    return {
        "tried": result.tried,
        "scored": result.scored,
        "penalised": dict(result.penalised),
        "cpu_seconds": round(result.cpu_seconds, 4),
        "candidates": [
            {"score": c.score, "space_group": c.space_group, "wyckoff": c.wyckoff, "atoms": atoms_to_dict(c.atoms)}
            for c in result.candidates
        ],
    }


def _lost(lost: Lost) -> dict[str, Any]:
    """Return the result of an assignment that killed or blocked its process: one structure tried, and the reason."""
    return {"tried": 1, "scored": 0, "penalised": {str(lost.reason): 1}, "cpu_seconds": 0.0, "candidates": []}


def _from_dict(assignment: str, values: dict[str, Any]) -> AssignmentResult:
    candidates = [
        Candidate(atoms_from_dict(c["atoms"]), c["score"], c["space_group"], c["wyckoff"], assignment)
        for c in values["candidates"]
    ]
    return AssignmentResult(
        assignment,
        candidates,
        values["tried"],
        values["scored"],
        Counter(values["penalised"]),
        values["cpu_seconds"],
    )


def generate_gnoa(
    settings: SearchSettings,
    pool_number: int,
    limit: int,
    checkpoint: Checkpoint,
    *,
    folder: Path,
    weights: Path | None,
) -> tuple[list[Atoms], dict[str, Any]]:
    """Run all assignments of a pool that are missing in the checkpoint.

    Args:
        settings: of the search.
        pool_number: how many pools the search has filled before.
        limit: largest number of atoms of a structure.
        checkpoint: finished assignments.
        folder: where progress is written.
        weights: file of the network's weights, where it needs one.

    Returns:
        The structures that the assignments kept, lowest energy of the network first, duplicates included, and counts.

    Raises:
        InputError: if the network cannot be loaded.
    """
    assignments = plan_assignments(settings, limit)
    results = {a.key: checkpoint.entries[a.key] for a in assignments if a.key in checkpoint.entries}
    missing = [
        _Work(a, settings, limit, pool_number, weights)
        for a in sorted(assignments, key=lambda assignment: -assignment.z)
        if a.key not in results
    ]
    _write_progress(folder, len(assignments), results.values())
    # each network has processes of its own: TensorFlow must not share one with PyTorch, which ranks
    for work, outcome in run_all(_run, missing, settings.pool.processes, prepare=_prepare):
        name, result = ("", _lost(outcome)) if isinstance(outcome, Lost) else outcome
        result["network"] = name
        checkpoint.add(work.assignment.key, result)
        results[work.assignment.key] = result
        _write_progress(folder, len(assignments), results.values())
    ordered = [_from_dict(a.key, results[a.key]) for a in assignments]
    names = sorted({str(result["network"]) for result in results.values()} - {""})
    return _structures(ordered), _summary(settings, limit, ordered, names)


def _write_progress(folder: Path, total: int, results: Any) -> None:
    """Write how far the job is; read it with ``verdi calcjob remotecat PK progress.json``."""
    found = list(results)
    scores = [candidate["score"] for result in found for candidate in result["candidates"]]
    progress = {
        "units": total,
        "finished": len(found),
        "remaining": total - len(found),
        "scored": sum(result["scored"] for result in found),
        "best": min(scores, default=None),
    }
    scratch = folder / f"{PROGRESS_FILE}.new"
    scratch.write_text(json.dumps(progress) + "\n")
    scratch.replace(folder / PROGRESS_FILE)


def _structures(results: Sequence[AssignmentResult]) -> list[Atoms]:
    structures = []
    for candidate in sorted((c for result in results for c in result.candidates), key=lambda c: c.score):
        atoms = candidate.atoms
        atoms.info = {
            ORIGIN: GNOA,
            "score": candidate.score,
            "space_group": candidate.space_group,
            "wyckoff": candidate.wyckoff,
            "unit": candidate.assignment,
        }
        structures.append(atoms)
    return structures


def _summary(
    settings: SearchSettings, limit: int, results: Sequence[AssignmentResult], names: list[str]
) -> dict[str, Any]:
    penalised: Counter[str] = sum((result.penalised for result in results), Counter())
    used = {result.assignment.partition("_")[0] for result in results}
    return {
        "tried": sum(result.tried for result in results),
        "scored": sum(result.scored for result in results),
        "penalised": dict(sorted(penalised.items())),
        "network": ", ".join(names),
        "optimizer": settings.gnoa.optimizer,
        "units": len(results),
        "z_left_out": [z for z in z_values(settings, limit) if f"z{z:03d}" not in used],
    }
