"""Ranking a pool with a potential, and removing its duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ase import Atoms

from aiida_fuse2.core.crystal.uniqueness import UniqueIndex, fingerprint, match_reduced, reduce_structure
from aiida_fuse2.core.relaxers import evaluator_of, relax, single_point
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, UniquenessSettings

from .checkpoint import Checkpoint, atoms_from_dict, atoms_to_dict
from .processes import Lost, run_all

RELAXED = "relaxed"

ENERGY = "energy"
"""Key of ``Atoms.info`` with the energy of a ranked structure, eV/atom."""


@dataclass(frozen=True)
class _Work:
    """A structure to rank."""

    index: int
    atoms: Atoms
    mode: str
    tier: RelaxSettings
    potential: str | None

    @property
    def name(self) -> str:
        return f"rank_{self.index:06d}"


def _prepare(work: _Work) -> None:
    evaluator_of(work.tier, work.potential)


def _rank_one(work: _Work) -> dict[str, Any]:
    method = relax if work.mode == RELAXED else single_point
    found = method(work.atoms, evaluator_of(work.tier, work.potential), work.tier)
    result: dict[str, Any] = {"status": str(found.status), "cpu_seconds": found.values["cpu_seconds"]}
    if found.status == CONVERGED:
        result |= {"energy": found.values["energy"], "potential": found.values["potential"]}
        result["atoms"] = atoms_to_dict(found.atoms)
    return result


def rank_pool(
    structures: Sequence[Atoms],
    settings: SearchSettings,
    tier: RelaxSettings,
    checkpoint: Checkpoint,
    potential: str | None = None,
) -> tuple[list[Atoms], dict[str, Any]]:
    """Order structures by the energy of a potential, lowest first.

    Args:
        structures: structures of a pool; not changed.
        settings: settings of the search; ``pool.ranking`` says how to rank.
        tier: the potential.
        checkpoint: structures that are ranked already.
        potential: text of the library if the calculator is ``pair``.

    Returns:
        Those that could be computed, relaxed if the ranking relaxes; their ``info`` has ``energy``, eV/atom. Counts of
        the others by reason.

    Raises:
        InputError: if the potential cannot be made.
        MemoryError: if memory is lacking; the structures ranked so far are in the checkpoint.
    """
    mode = settings.pool.ranking
    if mode != RELAXED:
        tier = tier.model_copy(update={"relax_cell": False})  # needs no stress
    work = [_Work(i, atoms, mode, tier, potential) for i, atoms in enumerate(structures)]
    results = {w.index: checkpoint.entries[w.name] for w in work if w.name in checkpoint.entries}
    missing = [w for w in work if w.index not in results]
    for piece, outcome in run_all(_rank_one, missing, settings.pool.processes, prepare=_prepare):
        result = {"status": str(outcome.reason), "cpu_seconds": 0.0} if isinstance(outcome, Lost) else outcome
        checkpoint.add(piece.name, result)
        results[piece.index] = result
    dropped: Counter[str] = Counter(r["status"] for r in results.values() if r["status"] != CONVERGED)
    ranked = []
    for index in range(len(structures)):
        if results[index]["status"] == CONVERGED:
            atoms = atoms_from_dict(results[index]["atoms"])
            atoms.info = {**structures[index].info, ENERGY: results[index]["energy"]}
            ranked.append(atoms)
    ranked.sort(key=lambda atoms: float(atoms.info[ENERGY]))
    return ranked, {
        "by": mode,
        "potential": next((r["potential"] for r in results.values() if "potential" in r), ""),
        "dropped": dict(sorted(dropped.items())),
        "cpu_seconds": round(sum(result["cpu_seconds"] for result in results.values()), 3),
    }


def distinct(
    structures: Sequence[Atoms], key: str | None, settings: UniquenessSettings, most: int
) -> tuple[list[Atoms], int]:
    """Return the first structures of which no two are the same crystal, and how many duplicates were omitted.

    Args:
        structures: in order; ``info[key]`` is an energy, eV/atom.
        key: name of the energy; if None, they have none that could be compared, and only their geometries are.
        settings: settings of the comparison.
        most: largest number of structures to return; the rest is not compared.
    """
    index = UniqueIndex()
    kept: list[Atoms] = []
    reduced: dict[str, Any] = {}
    duplicates = 0
    for atoms in structures:
        if len(kept) == most:
            break
        vector, energy = fingerprint(atoms), 0.0 if key is None else float(atoms.info[key])
        near = index.near(energy, vector, settings.energy_window)
        own = reduce_structure(atoms) if near else None
        if own is not None and any(_equal(own, name, kept, reduced, settings.stol) for name in near):
            duplicates += 1
            continue
        index.add(str(len(kept)), energy, vector)
        kept.append(atoms)
    return kept, duplicates


def _equal(own: Any, name: str, kept: Sequence[Atoms], reduced: dict[str, Any], stol: float) -> bool:
    if name not in reduced:
        reduced[name] = reduce_structure(kept[int(name)])
    return match_reduced(own, reduced[name], stol=stol)
