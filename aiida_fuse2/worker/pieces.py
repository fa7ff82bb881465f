"""The structures of a generator that makes whole pools, in one job: pieces side by side, each written when finished."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from aiida_fuse2.core.generators import SCORE, PieceResult, PoolContext, PoolGenerator
from aiida_fuse2.core.generators.base import Piece
from aiida_fuse2.core.search.pool import ORIGIN
from aiida_fuse2.io.names import PROGRESS_FILE

from .checkpoint import Checkpoint, atoms_from_dict, atoms_to_dict
from .processes import Lost, run_all

STRUCTURES = "structures"
"""Key of the structures of a piece in the checkpoint; the other keys are its counts."""


@dataclass(frozen=True)
class _Work:
    """A piece with everything that decides its result."""

    piece: Piece
    generator: PoolGenerator
    pool: PoolContext


def _prepare(work: _Work) -> None:
    work.generator.prepare(work.pool)


def _run(work: _Work) -> dict[str, Any]:
    return _to_dict(work.generator.run(work.piece, work.pool))


def _to_dict(result: PieceResult) -> dict[str, Any]:
    structures = [{"info": dict(atoms.info), "atoms": atoms_to_dict(atoms)} for atoms in result.structures]
    return {**result.counts, STRUCTURES: structures}


def generate_pieces(
    generator: PoolGenerator, pool: PoolContext, checkpoint: Checkpoint, *, folder: Path
) -> tuple[list[Atoms], dict[str, Any]]:
    """Run all pieces of a pool that are missing in the checkpoint.

    Args:
        generator: generator of the pool.
        pool: the pool to make.
        checkpoint: finished pieces.
        folder: where progress is written.

    Returns:
        The structures that the pieces kept, lowest score first, duplicates included, and counts.

    Raises:
        InputError: if something that the generator needs is missing.
    """
    pieces = generator.plan(pool)
    results = {piece.key: checkpoint.entries[piece.key] for piece in pieces if piece.key in checkpoint.entries}
    missing = [_Work(p, generator, pool) for p in sorted(pieces, key=lambda p: -p.cost) if p.key not in results]
    _write_progress(folder, len(pieces), results.values())
    # each piece is computed apart from this process: TensorFlow must not share one with PyTorch, which ranks
    for work, outcome in run_all(_run, missing, pool.settings.pool.processes, prepare=_prepare):
        result = _to_dict(generator.lost(str(outcome.reason))) if isinstance(outcome, Lost) else outcome
        checkpoint.add(work.piece.key, result)
        results[work.piece.key] = result
        _write_progress(folder, len(pieces), results.values())
    ordered = {piece.key: results[piece.key] for piece in pieces}
    counts = {key: {name: value for name, value in r.items() if name != STRUCTURES} for key, r in ordered.items()}
    return _structures(generator.name, ordered.values()), generator.summary(pool, counts)


def _write_progress(folder: Path, total: int, results: Iterable[Mapping[str, Any]]) -> None:
    """Write the progress of the job; read it with ``verdi calcjob remotecat PK progress.json``."""
    found = list(results)
    scores = [frame["info"][SCORE] for result in found for frame in result[STRUCTURES]]
    progress = {
        "units": total,
        "finished": len(found),
        "remaining": total - len(found),
        "structures": len(scores),
        "best": min(scores, default=None),
    }
    scratch = folder / f"{PROGRESS_FILE}.new"
    scratch.write_text(json.dumps(progress) + "\n")
    scratch.replace(folder / PROGRESS_FILE)


def _structures(name: str, results: Iterable[Mapping[str, Any]]) -> list[Atoms]:
    structures = []
    for frame in (frame for result in results for frame in result[STRUCTURES]):
        atoms = atoms_from_dict(frame["atoms"])
        atoms.info = {ORIGIN: name, **frame["info"]}
        structures.append(atoms)
    return sorted(structures, key=lambda atoms: float(atoms.info[SCORE]))
