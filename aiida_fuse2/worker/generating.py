"""A job that fills a pool."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ase import Atoms

from aiida_fuse2.core.errors import GenerationError
from aiida_fuse2.core.generators import GeneratorContext, get_generator
from aiida_fuse2.core.pool import ORIGIN, POOL_NUMBER
from aiida_fuse2.core.rng import Purpose, keyed_generator
from aiida_fuse2.core.settings import SearchSettings, check_search, parse_settings
from aiida_fuse2.core.validity import check_validity

from .files import to_extxyz
from .names import POOL_FILE, SUMMARY_FILE
from .software import software_versions


def generate_pool(settings: SearchSettings, pool_number: int) -> tuple[list[Atoms], dict[str, Any]]:
    """Make the structures of one pool.

    Args:
        settings: of the search: generator, limits, seed.
        pool_number: how many pools the search has filled before; part of the random key.

    Returns:
        Valid structures in the order they were made, and a summary: tried, kept, rejected by reason.
    """
    generator = get_generator(settings.generator)
    limit = settings.initial_limit if pool_number == 0 else settings.max_atoms
    context = GeneratorContext(
        unit=settings.unit,
        radii=settings.resolved_radii,
        ap=settings.ap,
        max_atoms=limit,
        min_atoms=settings.pool.min_atoms,
    )
    started = time.process_time()
    kept: list[Atoms] = []
    rejected: Counter[str] = Counter()
    tried = 0
    while len(kept) < settings.pool.size and tried < settings.pool.size * settings.pool.max_attempts_factor:
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
        atoms.info = {ORIGIN: settings.generator, POOL_NUMBER: pool_number, "rank": len(kept)}
        kept.append(atoms)
    summary = {
        "generator": settings.generator,
        "pool_number": pool_number,
        "tried": tried,
        "kept": len(kept),
        "rejected": dict(sorted(rejected.items())),
        "cpu_seconds": round(time.process_time() - started, 3),
        "software": software_versions(),
    }
    return kept, summary


def run_generate_job(job: dict[str, Any], folder: Path) -> None:
    """Run a pool job in a folder.

    Args:
        job: ``settings`` of the search, and ``pool_number``.
        folder: where pool and summary are written.

    Raises:
        InputError: where settings are wrong.
    """
    settings = parse_settings(SearchSettings, job["settings"])
    check_search(settings)
    structures, summary = generate_pool(settings, int(job["pool_number"]))
    (folder / POOL_FILE).write_text(to_extxyz((atoms, atoms.info) for atoms in structures))
    (folder / SUMMARY_FILE).write_text(json.dumps(summary))
