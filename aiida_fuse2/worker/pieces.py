"""The structures of a generator that makes pools, in one job: pieces side by side, each written when finished."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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


class Progress:
    """The progress of a job; read it with ``verdi calcjob remotecat PK progress.json``.

    Args:
        folder: where it is written.
        total: number of pieces of all generators.
    """

    def __init__(self, folder: Path, total: int) -> None:
        self._path = folder / PROGRESS_FILE
        self._total = total
        self._found: list[Mapping[str, Any]] = []

    def add(self, results: Iterable[Mapping[str, Any]]) -> None:
        """Write the progress with more finished pieces."""
        self._found += results
        scores = [frame["info"][SCORE] for result in self._found for frame in result[STRUCTURES]]
        progress = {
            "units": self._total,
            "finished": len(self._found),
            "remaining": self._total - len(self._found),
            "structures": len(scores),
            "best": min(scores, default=None),
        }
        scratch = self._path.with_name(f"{PROGRESS_FILE}.new")
        scratch.write_text(json.dumps(progress) + "\n")
        scratch.replace(self._path)


def generate_pieces(
    generator: PoolGenerator, pool: PoolContext, pieces: Sequence[Piece], checkpoint: Checkpoint, progress: Progress
) -> tuple[list[Atoms], dict[str, Any]]:
    """Run all pieces of a generator that are missing in the checkpoint.

    Args:
        generator: generator of the pool.
        pool: the pool to make.
        pieces: plan of the generator.
        checkpoint: finished pieces.
        progress: progress of the job.

    Returns:
        The structures that the pieces kept, lowest score first, duplicates included, and counts.

    Raises:
        InputError: if something that the generator needs is missing.
    """
    names = {piece.key: f"{generator.name}/{piece.key}" for piece in pieces}
    results = {key: checkpoint.entries[name] for key, name in names.items() if name in checkpoint.entries}
    own = replace(pool, library=())  # a piece has what it needs of the library
    missing = [_Work(p, generator, own) for p in sorted(pieces, key=lambda p: -p.cost) if p.key not in results]
    progress.add(results.values())
    # each piece is computed apart from this process: TensorFlow must not share one with PyTorch, which ranks
    for work, outcome in run_all(_run, missing, pool.settings.pool.processes, prepare=_prepare):
        result = _to_dict(generator.lost(str(outcome.reason))) if isinstance(outcome, Lost) else outcome
        checkpoint.add(names[work.piece.key], result)
        results[work.piece.key] = result
        progress.add([result])
    ordered = {piece.key: results[piece.key] for piece in pieces}
    counts = {key: {name: value for name, value in r.items() if name != STRUCTURES} for key, r in ordered.items()}
    return _structures(generator.name, ordered.values()), generator.summary(pool, counts)


def _structures(name: str, results: Iterable[Mapping[str, Any]]) -> list[Atoms]:
    structures = []
    for frame in (frame for result in results for frame in result[STRUCTURES]):
        atoms = atoms_from_dict(frame["atoms"])
        atoms.info = {ORIGIN: name, **frame["info"]}
        structures.append(atoms)
    return sorted(structures, key=lambda atoms: float(atoms.info[SCORE]))
