"""A job that fills a pool."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from ase import Atoms

from aiida_fuse2.core.crystal.known import ALL_GROUPS, fitting_units
from aiida_fuse2.core.crystal.validity import check_validity
from aiida_fuse2.core.errors import GenerationError, InputError
from aiida_fuse2.core.generators import (
    SCORE,
    GeneratorContext,
    PoolContext,
    PoolGenerator,
    SingleGenerator,
    draw_z,
    get_generator,
    single_generator,
)
from aiida_fuse2.core.potentials.pair import read_library, write_library
from aiida_fuse2.core.rng import Purpose, keyed_generator
from aiida_fuse2.core.search.checks import check_pool
from aiida_fuse2.core.search.pool import ORIGIN, POOL_NUMBER
from aiida_fuse2.core.search.starts import interleaved, sizes_of_parts
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, parse_settings
from aiida_fuse2.io.names import (
    CHECKPOINT_FILE,
    POOL_FILE,
    POTENTIAL_FILE,
    PROTOTYPES_FILE,
    SUMMARY_FILE,
    WEIGHTS_FILE,
)
from aiida_fuse2.io.prototypes import library_from_text
from aiida_fuse2.io.trials import to_extxyz

from .checkpoint import Checkpoint, signature
from .pieces import Progress, generate_pieces
from .processes import cpu_seconds
from .ranking import ENERGY, distinct, rank_pool
from .software import software_versions

CHECKPOINT_FORMAT = 3
"""Format of the checkpoint; a checkpoint of another format is not resumed."""


def limit_of_pool(settings: SearchSettings, pool_number: int) -> int:
    """Return the largest number of atoms of a structure of a pool: the first pool may have a limit of its own."""
    return settings.initial_limit if pool_number == 0 else settings.max_atoms


def generate_pool(
    generator: SingleGenerator, pool: PoolContext, *, stream: int = 0, stop: Callable[[], bool] | None = None
) -> tuple[list[Atoms], dict[str, Any]]:
    """Make the structures of a generator that makes one at a time.

    Args:
        generator: the generator.
        pool: the part of the pool to make.
        stream: number of such generators before it in the pool; part of the random key.
        stop: returns whether to stop here; called before each attempt.

    Returns:
        Valid structures in the order they were made, and a summary: tried, rejected by reason.
    """
    settings = pool.settings
    context = GeneratorContext.of(settings, settings.validity, max_atoms=pool.limit, known=settings.known)
    fits = fitting_units(context.unit, pool.limit, settings.pool.min_atoms, ALL_GROUPS, settings.known)
    kept: list[Atoms] = []
    rejected: Counter[str] = Counter()
    n_atoms = tried = failed = 0
    most = pool.size * settings.pool.max_attempts_factor
    while len(kept) < pool.size and tried < most and not (stop is not None and stop()):
        rng = keyed_generator(settings.seed, Purpose.POOL, generation=pool.number, trial=stream, attempt=tried)
        if failed % settings.max_attempts == 0:  # a size is kept until all attempts at it have failed
            n_atoms = draw_z(fits, settings.size_bias, rng) * context.unit.n_atoms
        tried, failed = tried + 1, failed + 1
        try:
            atoms = generator(replace(context, max_atoms=n_atoms, min_atoms=n_atoms), rng)
        except GenerationError as error:
            rejected[error.reason] += 1
            continue
        refusal = check_validity(
            atoms, unit=context.unit, radii=context.radii, max_atoms=pool.limit, settings=settings.validity
        )
        if refusal is not None:
            rejected[str(refusal)] += 1
            continue
        atoms.info = {ORIGIN: generator.name}
        kept.append(atoms)
        failed = 0
    return kept, {"tried": tried, "rejected": dict(sorted(rejected.items()))}


def _number(structures: list[Atoms], pool_number: int) -> None:
    """Give each structure its pool and rank."""
    for rank, atoms in enumerate(structures):
        atoms.info = {ORIGIN: atoms.info.pop(ORIGIN), POOL_NUMBER: pool_number, "rank": rank, **atoms.info}


@dataclass(frozen=True)
class _Job:
    """The parts of a pool by generator, and what they need."""

    parts: dict[str, PoolContext]
    settings: SearchSettings
    checkpoint: Checkpoint
    folder: Path
    stop: Callable[[], bool] | None

    def generate(self) -> tuple[dict[str, list[Atoms]], dict[str, dict[str, Any]]]:
        """Return the structures of each generator, best first, and its summary."""
        generators = {name: get_generator(name) for name in self.parts}
        plans = {n: g.plan(self.parts[n]) for n, g in generators.items() if isinstance(g, PoolGenerator)}
        progress = Progress(self.folder, sum(map(len, plans.values())))
        made: dict[str, list[Atoms]] = {}
        counts: dict[str, dict[str, Any]] = {}
        stream = 0
        for name, generator in generators.items():
            part = self.parts[name]
            if isinstance(generator, PoolGenerator):
                found, counts[name] = generate_pieces(generator, part, plans[name], self.checkpoint, progress)
                made[name], counts[name]["duplicates"] = distinct(found, SCORE, self.settings.uniqueness, part.size)
            else:
                single = single_generator(name)
                made[name], counts[name] = generate_pool(single, part, stream=stream, stop=self.stop)
                stream += 1
        return made, counts

    def rank(
        self,
        made: dict[str, list[Atoms]],
        counts: dict[str, dict[str, Any]],
        tier: RelaxSettings,
        potential: str | None,
    ) -> dict[str, Any]:
        """Order the structures of each generator by a potential, without duplicates; return the summary of it."""
        given = [atoms for structures in made.values() for atoms in structures]
        ranked, summary = rank_pool(given, self.settings, tier, self.checkpoint, potential)
        for name, part in self.parts.items():
            own = [atoms for atoms in ranked if atoms.info[ORIGIN] == name]
            made[name], again = distinct(own, ENERGY, self.settings.uniqueness, part.size)
            counts[name]["duplicates"] = counts[name].get("duplicates", 0) + again
        return summary

    def join(self, made: dict[str, list[Atoms]], counts: dict[str, dict[str, Any]], *, is_ranked: bool) -> list[Atoms]:
        """Return the structures of all generators in the order of the pool, without those that two have made."""
        shares = {name: self.settings.starts[name] for name in made}
        joined = interleaved(made, shares)
        if len(made) > 1:
            different, _ = distinct(joined, ENERGY if is_ranked else None, self.settings.uniqueness, len(joined))
            kept = {name: [atoms for atoms in different if atoms.info[ORIGIN] == name] for name in made}
            for name, structures in kept.items():
                again = len(made[name]) - len(structures)
                counts[name]["duplicates"] = counts[name].get("duplicates", 0) + again
            made, joined = kept, interleaved(kept, shares)
        for name, structures in made.items():
            counts[name]["kept"] = len(structures)
        return joined


def fill_pool(
    settings: SearchSettings,
    pool_number: int,
    *,
    folder: Path,
    generators: Sequence[str] | None = None,
    tier: RelaxSettings | None = None,
    weights: Path | None = None,
    library: Path | None = None,
    potential: Path | None = None,
    stop: Callable[[], bool] | None = None,
) -> tuple[list[Atoms], dict[str, Any]]:
    """Make, rank and number the structures of a pool.

    Each generator makes its share. Those of each are ordered, best first; then they take turns, so that the first
    structures of any number keep the shares. Finished work is written to a checkpoint in the folder; a checkpoint of
    the same inputs is resumed.

    Args:
        settings: settings of the search.
        pool_number: number of pools that the search has filled before.
        folder: folder of the job.
        generators: names of the generators of ``settings.starts`` that make this pool; by default all.
        tier: the potential that ranks, and that generators use; needed if the settings ask for a ranking.
        weights: file of the network's weights, if it needs one.
        library: file of prototypes, if a generator needs them.
        potential: file of pair potentials, if ``tier`` needs them.
        stop: returns whether to stop here; called before each attempt of a generator that makes single structures.

    Returns:
        The structures, best first, and a summary: ``starts`` (share of each generator), totals, and ``generators``
        (summary of each one).

    Raises:
        InputError: if a network or a potential cannot be loaded, or is missing.
    """
    is_ranked = settings.pool.ranking != "none"
    if is_ranked and tier is None:
        raise InputError("settings.pool.ranking", settings.pool.ranking, "needs a potential: give the input `tier`")
    started = cpu_seconds()
    names = sorted(settings.starts if generators is None else generators)
    digest, library_digest = _digest(weights), _digest(library)
    pairs = None if potential is None else needed_pairs(potential.read_text(), settings)
    signed = _signature(settings, pool_number, names, tier, digest + library_digest + _digest(potential))
    checkpoint = Checkpoint(folder / CHECKPOINT_FILE, signed)
    shares = {name: settings.starts[name] for name in names}
    summary: dict[str, Any] = {"starts": shares, "pool_number": pool_number, "seed": settings.seed}
    summary |= {"weights_sha256": digest, "prototypes_sha256": library_digest}
    limit = limit_of_pool(settings, pool_number)
    whole = PoolContext(
        settings=settings,
        size=settings.pool.size,
        limit=limit,
        number=pool_number,
        weights=weights,
        tier=tier,
        potential=pairs,
    )
    if library is not None:
        whole = replace(whole, library=tuple(library_from_text(library.read_text(encoding="utf-8"))))
    sizes = sizes_of_parts(settings.pool.size, shares)
    parts = {name: replace(whole, size=size) for name, size in sizes.items()}
    job = _Job(parts, settings, checkpoint, folder, stop)
    made, counts = job.generate()
    if tier is not None and is_ranked:
        summary["ranking"] = job.rank(made, counts, tier, pairs)
    structures = job.join(made, counts, is_ranked=is_ranked)
    _number(structures, pool_number)
    summary |= {
        **_totals(counts.values()),
        "generators": counts,
        "best": _best(structures[0]) if structures else None,
        "resumed": checkpoint.n_resumed,
        "cpu_seconds": round(cpu_seconds() - started, 3),
        "software": software_versions(),
    }
    return structures, summary


def needed_pairs(text: str, settings: SearchSettings) -> str:
    """Return the part of a library of pair potentials that a composition needs, which may be a small fraction.

    Raises:
        InputError: if it cannot be read, or lacks a pair.
    """
    library = read_library(text, where="potential")
    library.require(frozenset(settings.unit.elements), where="potential")
    return write_library(library.restricted(set(settings.unit.elements)))


def _totals(summaries: Collection[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the counts of several generators together; not all have every one."""
    numbers = {
        key: sum(counts.get(key, 0) for counts in summaries)
        for key in ("tried", "scored", "duplicates", "kept")
        if any(key in counts for counts in summaries)
    }
    reasons: dict[str, Counter[str]] = {}
    for key in ("rejected", "penalised"):
        for counts in summaries:
            if key in counts:
                reasons.setdefault(key, Counter()).update(counts[key])
    return numbers | {key: dict(sorted(found.items())) for key, found in reasons.items()}


def _digest(file: Path | None) -> str:
    """Return the SHA-256 of a file; empty without one."""
    return "" if file is None else sha256(file.read_bytes()).hexdigest()


def _best(atoms: Atoms) -> dict[str, Any]:
    """Return the values of the first structure of a pool."""
    return {key: value for key, value in atoms.info.items() if key not in {ORIGIN, POOL_NUMBER, "rank"}}


def _signature(
    settings: SearchSettings, pool_number: int, names: Sequence[str], tier: RelaxSettings | None, digest: str
) -> str:
    """Return the signature of everything that decides a pool; the number of processes does not."""
    values = settings.model_dump(mode="json")
    del values["pool"]["processes"]
    ranks = settings.pool.ranking != "none" or any(get_generator(name).needs_tier for name in names)
    return signature(
        {
            "settings": values,
            "pool_number": pool_number,
            "generators": names,
            "tier": tier.model_dump(mode="json") if tier is not None and ranks else None,
            "weights": digest,
            "format": CHECKPOINT_FORMAT,
            "software": software_versions(),
        }
    )


def run_generate_job(job: dict[str, Any], folder: Path) -> None:
    """Run a pool job in a folder.

    Args:
        job: ``settings`` of the search, ``pool_number``, ``generators`` that make the pool, or None for all, and
            ``tier`` that ranks and that generators use, or None.
        folder: where pool and summary are written; may hold weights, prototypes, pair potentials, and the checkpoint of
            a job that was killed.

    Raises:
        InputError: if settings are wrong, or something that they need is missing.
    """
    settings = parse_settings(SearchSettings, job["settings"])
    generators = job.get("generators")
    check_pool(settings, generators)
    tier = None if job.get("tier") is None else parse_settings(RelaxSettings, job["tier"], where="tier")
    weights, library, potential = (folder / name for name in (WEIGHTS_FILE, PROTOTYPES_FILE, POTENTIAL_FILE))
    structures, summary = fill_pool(
        settings,
        int(job["pool_number"]),
        folder=folder,
        generators=generators,
        tier=tier,
        weights=weights if weights.exists() else None,
        library=library if library.exists() else None,
        potential=potential if potential.exists() else None,
    )
    (folder / POOL_FILE).write_text(to_extxyz((atoms, atoms.info) for atoms in structures))
    (folder / SUMMARY_FILE).write_text(json.dumps(summary))
