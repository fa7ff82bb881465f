"""A job that fills a pool."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from ase import Atoms

from aiida_fuse2.core.crystal.validity import check_validity
from aiida_fuse2.core.errors import GenerationError, InputError
from aiida_fuse2.core.generators import (
    SCORE,
    GeneratorContext,
    PoolContext,
    PoolGenerator,
    get_generator,
    single_generator,
)
from aiida_fuse2.core.rng import Purpose, keyed_generator
from aiida_fuse2.core.search.checks import check_pool
from aiida_fuse2.core.search.pool import ORIGIN, POOL_NUMBER
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, parse_settings
from aiida_fuse2.io.names import CHECKPOINT_FILE, POOL_FILE, SUMMARY_FILE, WEIGHTS_FILE
from aiida_fuse2.io.trials import to_extxyz

from .checkpoint import Checkpoint, signature
from .pieces import generate_pieces
from .processes import cpu_seconds
from .ranking import distinct, rank_pool
from .software import software_versions

CHECKPOINT_FORMAT = 2
"""Format of the checkpoint; a checkpoint of another format is not resumed."""


def limit_of_pool(settings: SearchSettings, pool_number: int) -> int:
    """Return the largest number of atoms of a structure of a pool: the first pool may have a limit of its own."""
    return settings.initial_limit if pool_number == 0 else settings.max_atoms


def generate_pool(
    settings: SearchSettings, pool_number: int, *, stop: Callable[[], bool] | None = None
) -> tuple[list[Atoms], dict[str, Any]]:
    """Make the structures of one pool with a generator that makes one at a time.

    Args:
        settings: settings of the search: generator, limits, seed.
        pool_number: number of pools that the search has filled before; part of the random key.
        stop: returns whether to stop here; called before each attempt.

    Returns:
        Valid structures in the order they were made, and a summary: tried, kept, rejected by reason.
    """
    generator = single_generator(settings.generator)
    limit = limit_of_pool(settings, pool_number)
    context = GeneratorContext(
        unit=settings.unit,
        radii=settings.resolved_radii,
        ap=settings.ap,
        max_atoms=limit,
        min_atoms=settings.pool.min_atoms,
    )
    kept: list[Atoms] = []
    rejected: Counter[str] = Counter()
    tried = 0
    most = settings.pool.size * settings.pool.max_attempts_factor
    while len(kept) < settings.pool.size and tried < most and not (stop is not None and stop()):
        rng = keyed_generator(settings.seed, Purpose.POOL, generation=pool_number, attempt=tried)
        tried += 1
        try:
            atoms = generator(context, rng)
        except GenerationError as error:
            rejected[error.reason] += 1
            continue
        refusal = check_validity(
            atoms, unit=settings.unit, radii=context.radii, max_atoms=limit, settings=settings.validity
        )
        if refusal is not None:
            rejected[str(refusal)] += 1
            continue
        atoms.info = {ORIGIN: settings.generator}
        kept.append(atoms)
    return kept, {"tried": tried, "rejected": dict(sorted(rejected.items()))}


def _number(structures: list[Atoms], pool_number: int) -> None:
    """Give each structure its pool and rank."""
    for rank, atoms in enumerate(structures):
        atoms.info = {ORIGIN: atoms.info.pop(ORIGIN), POOL_NUMBER: pool_number, "rank": rank, **atoms.info}


def fill_pool(
    settings: SearchSettings,
    pool_number: int,
    *,
    folder: Path,
    tier: RelaxSettings | None = None,
    weights: Path | None = None,
    stop: Callable[[], bool] | None = None,
) -> tuple[list[Atoms], dict[str, Any]]:
    """Make, rank and number the structures of a pool.

    Finished work is written to a checkpoint in the folder; a checkpoint of the same inputs is resumed.

    Args:
        settings: settings of the search.
        pool_number: number of pools that the search has filled before.
        folder: folder of the job.
        tier: the potential that ranks, if the settings ask for one.
        weights: file of the network's weights, if it needs one.
        stop: returns whether to stop here; called before each attempt of a generator that makes single structures.

    Returns:
        The structures, best first, and a summary.

    Raises:
        InputError: if a network or a potential cannot be loaded, or is missing.
    """
    if settings.pool.ranking != "none" and tier is None:
        raise InputError("settings.pool.ranking", settings.pool.ranking, "needs a potential: give the input `tier`")
    started = cpu_seconds()
    digest = "" if weights is None else sha256(weights.read_bytes()).hexdigest()
    checkpoint = Checkpoint(folder / CHECKPOINT_FILE, _signature(settings, pool_number, tier, digest))
    summary: dict[str, Any] = {"generator": settings.generator, "pool_number": pool_number, "seed": settings.seed}
    summary["weights_sha256"] = digest
    generator = get_generator(settings.generator)
    if isinstance(generator, PoolGenerator):
        limit = limit_of_pool(settings, pool_number)
        pool = PoolContext(settings=settings, limit=limit, number=pool_number, weights=weights)
        structures, counts = generate_pieces(generator, pool, checkpoint, folder=folder)
        structures, counts["duplicates"] = distinct(structures, SCORE, settings.uniqueness, settings.pool.size)
    else:
        structures, counts = generate_pool(settings, pool_number, stop=stop)
    summary |= counts
    if tier is not None and settings.pool.ranking != "none":
        structures, summary["ranking"] = rank_pool(structures, settings, tier, checkpoint)
        structures, again = distinct(structures, "energy", settings.uniqueness, settings.pool.size)
        summary["duplicates"] = summary.get("duplicates", 0) + again
    _number(structures, pool_number)
    summary |= {
        "kept": len(structures),
        "best": _best(structures[0]) if structures else None,
        "resumed": checkpoint.n_resumed,
        "cpu_seconds": round(cpu_seconds() - started, 3),
        "software": software_versions(),
    }
    return structures, summary


def _best(atoms: Atoms) -> dict[str, Any]:
    """Return the values of the first structure of a pool."""
    return {key: value for key, value in atoms.info.items() if key not in {ORIGIN, POOL_NUMBER, "rank"}}


def _signature(settings: SearchSettings, pool_number: int, tier: RelaxSettings | None, digest: str) -> str:
    """Return the signature of everything that decides a pool; the number of processes does not."""
    values = settings.model_dump(mode="json")
    del values["pool"]["processes"]
    ranks = tier is not None and settings.pool.ranking != "none"
    return signature(
        {
            "settings": values,
            "pool_number": pool_number,
            "tier": tier.model_dump(mode="json") if tier is not None and ranks else None,
            "weights": digest,
            "format": CHECKPOINT_FORMAT,
            "software": software_versions(),
        }
    )


def run_generate_job(job: dict[str, Any], folder: Path) -> None:
    """Run a pool job in a folder.

    Args:
        job: ``settings`` of the search, ``pool_number``, and ``tier`` that ranks, or None.
        folder: where pool and summary are written; may hold weights, and the checkpoint of a job that was killed.

    Raises:
        InputError: if settings are wrong, or something that they need is missing.
    """
    settings = parse_settings(SearchSettings, job["settings"])
    check_pool(settings)
    tier = None if job.get("tier") is None else parse_settings(RelaxSettings, job["tier"], where="tier")
    weights = folder / WEIGHTS_FILE
    structures, summary = fill_pool(
        settings,
        int(job["pool_number"]),
        folder=folder,
        tier=tier,
        weights=weights if weights.exists() else None,
    )
    (folder / POOL_FILE).write_text(to_extxyz((atoms, atoms.info) for atoms in structures))
    (folder / SUMMARY_FILE).write_text(json.dumps(summary))
