"""The results of searches in a given CPU time: one row per composition, generator, seed and settings."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.generators import get_generator
from aiida_fuse2.core.prototypes.naming import TypeIndex
from aiida_fuse2.core.relaxers import make_evaluator
from aiida_fuse2.core.settings import CHGNET, RelaxSettings, SearchSettings
from aiida_fuse2.core.settings.starts import shares_of_text
from aiida_fuse2.io.prototypes import library_from_text
from aiida_fuse2.protocols import check_overrides, merge
from aiida_fuse2.protocols.models import find_model
from aiida_fuse2.worker.software import software_versions

from .answers import finished_structures, second_order, second_settings
from .course import Course, reached_at
from .defaults import Targets
from .libraries import Library, count_by_space_group, needs_library, read_library
from .local_search import LocalSearch, parse
from .lowest import Found, describe, energy_by_space_group, lowest_structures
from .results import FoundStructure, SearchRow
from .starts import check_elements

NO_LIMIT = 10**9
"""Replaces the limits of structures, so that CPU time ends a search."""

OWN_OPTIONS = {
    "seed": "--seeds or --seed",
    "starts": "--generators or --starts",
    "max_atoms": "COMPOSITION:ATOMS or --max-atoms",
    "max_cpu_hours": "--cpu-seconds",
}
"""Settings that have an option of the benchmark."""

UNUSED = ("max_wall_hours", "min_free_disk", "relax_jobs", "job_seconds", "job_attempts")
"""Settings of a search without a meaning in one process."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

STARTS = "starts"
"""Name of the generators in messages: options of different commands give them."""

Key = tuple[str, int, str, int, str, str, float, str]
"""Composition, most atoms, starts, seed, protocol, overrides as JSON, budget, and library: what decides a row."""


@dataclass(frozen=True, kw_only=True)
class SearchTask:
    """A search to be measured.

    Attributes:
        composition: formula.
        max_atoms: largest number of atoms of a structure; as in the protocol if None.
        generator: generators of the starts, with their shares if there are several: ``prototypes=0.5+fgen=0.5``.
        seed: seed of the search.
        protocol: name of the protocol.
        overrides: nested inputs that win over the protocol.
        budget: CPU time, s.
        target: energy that it should reach, eV/atom, or None.
        prototypes: file of the library of prototypes; the packaged library if None.
        finish: whether the lowest structures are finished.
        second: name of the second potential that orders what is finished, or None.
    """

    composition: str
    max_atoms: int | None
    generator: str
    seed: int
    protocol: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    budget: float
    target: float | None = None
    prototypes: Path | None = None
    finish: bool = False
    second: str | None = None

    def settings(self) -> tuple[SearchSettings, RelaxSettings]:
        """Return the settings of search and relaxation.

        Raises:
            InputError: for the first wrong one.
        """
        check_overrides(self.overrides)
        check_meaning(self.overrides)
        starts = starts_of(self.generator)
        if not all(get_generator(name, where=STARTS).makes_structures for name in starts):
            raise InputError(STARTS, self.generator, "a benchmark has no structures of the user")
        limits: dict[str, Any] = {"settings": {"max_structures": NO_LIMIT, "rmax": NO_LIMIT}}
        own: dict[str, Any] = {"starts": starts, "seed": self.seed, "pool": {"processes": 1}}
        if self.max_atoms is not None:
            own["max_atoms"] = self.max_atoms
        changes = merge(merge(limits, self.overrides), {"settings": own})
        settings, tier = parse(self.composition, self.protocol, changes)
        if tier.calculator == CHGNET:
            check_elements(settings)
        if self.second is not None:
            second_settings(self.second, tier)
        self.library(settings)
        return settings, tier

    def library(self, settings: SearchSettings) -> Library | None:
        """Return the library that the search begins with; None if none of its generators needs one.

        Raises:
            InputError: if it is needed and cannot be read or is not installed.
        """
        if not needs_library(settings.starts):
            return None
        library = read_library(self.prototypes)
        if library is None:
            expected = "need a library: pip install 'aiida-fuse2[prototypes]', or --prototypes FILE"
            raise InputError(STARTS, self.generator, expected)
        return library

    @property
    def key(self) -> Key:
        """Key of its row."""
        settings, _ = self.settings()
        library, starts = self.library(settings), canonical_starts(settings.starts)
        name, text = "" if library is None else library.name, overrides_text(self.overrides)
        return settings.unit.formula, settings.max_atoms, starts, self.seed, self.protocol, text, self.budget, name


def row_key(row: SearchRow) -> Key:
    """Return the key of the row of a search."""
    limit, starts = row.max_atoms, row.generator
    return row.composition, limit, starts, row.seed, row.protocol, row.overrides, row.budget, row.library


def starts_of(text: str) -> dict[str, str]:
    """Return the shares in a text such as ``fgen`` or ``prototypes=0.5+fgen=0.5``.

    Raises:
        InputError: if a name is empty or given twice.
    """
    try:
        return shares_of_text(text.replace("+", ","))
    except ValueError as error:
        expected = "must be names of generators, each once, with their shares, e.g. prototypes=0.5+fgen=0.5"
        raise InputError(STARTS, text, expected) from error


def canonical_starts(shares: Mapping[str, float]) -> str:
    """Return shares as text; equal shares give equal text, and a single generator only its name."""
    if len(shares) == 1:
        return next(iter(shares))
    total = sum(shares.values())
    return "+".join(f"{name}={share / total:.6g}" for name, share in sorted(shares.items()))


def overrides_text(overrides: Mapping[str, Any]) -> str:
    """Return overrides as JSON; equal settings give equal JSON."""
    return json.dumps(overrides, sort_keys=True)


def check_meaning(overrides: Mapping[str, Any]) -> None:
    """Refuse overrides that a search in one process would ignore, or that have an option of their own.

    Raises:
        InputError: for the first one.
    """
    relax = overrides.get("relax", {})
    if not {"generate", "clean_workdir"}.isdisjoint(overrides) or "metadata" in relax:
        raise InputError("--set", overrides, "is about AiiDA and jobs; a benchmark runs in one process")
    for name in overrides.get("settings", {}):
        if name in OWN_OPTIONS:
            raise InputError("--set", f"settings.{name}", f"give it with {OWN_OPTIONS[name]}")
        if name in UNUSED:
            raise InputError("--set", f"settings.{name}", "is about AiiDA and jobs; a benchmark runs in one process")
    if "processes" in relax.get("settings", {}):
        raise InputError("--set", "relax.settings.processes", "is about jobs; --processes runs searches side by side")


def target_of(settings: SearchSettings, tier: RelaxSettings, targets: Targets) -> float | None:
    """Return the target of a search, eV/atom; None if there is none for its potential and pressure."""
    if targets.model is not None and (tier.calculator, tier.model, tier.pressure) != (CHGNET, targets.model, 0.0):
        return None
    return targets.of(settings.composition)


IMPORTED_LATE = (
    "ase.build.tools",
    "ase.io",
    "pymatgen.analysis.prototypes",
    "pymatgen.analysis.structure_matcher",
    "pymatgen.io.ase",
    "pymatgen.symmetry.analyzer",
    "pyxtal",
)
"""Packages that a search imports when it first needs them; together they take seconds."""


def _import_all() -> None:
    """Import all packages that would be imported later, so that their import does not count in a search."""
    for name in IMPORTED_LATE:
        import_module(name)


def run_task(task: SearchTask) -> SearchRow:
    """Run one search and return its row.

    The time is that of this process, and of those that it starts, from the loading of the model on: the prototypes of
    the composition are read, decorated and screened in it. Not counted are the import of packages, the reading of the
    whole library, and the comparison and naming of the lowest structures afterwards. The time is checked before each
    structure; a structure that is being made or relaxed is finished, and so is the screening of prototypes.

    Raises:
        InputError: if a setting is wrong.
    """
    settings, tier = task.settings()
    library = task.library(settings)
    prototypes = None if library is None else library.of(settings)
    _import_all()
    course = Course(task.budget)
    search = LocalSearch(
        settings=settings,
        tier=tier,
        evaluator=make_evaluator(tier),
        library=prototypes,
        observe=course.observe,
        stop=lambda: course.seconds >= task.budget,
    )
    for _ in search.steps():
        pass
    row = SearchRow(
        composition=settings.unit.formula,
        max_atoms=settings.max_atoms,
        generator=canonical_starts(settings.starts),
        seed=task.seed,
        protocol=task.protocol,
        overrides=overrides_text(task.overrides),
        budget=task.budget,
        cpu_seconds=round(course.seconds, 2),
        ended=search.ended() or "cpu_seconds",
        structures=course.tried,
        explored=course.tried - course.failures.total(),
        generations=search.state.generation,
        evaluations=course.evaluations,
        pool_seconds=round(search.pool_seconds, 2),
        failures=dict(course.failures),
        course=course.improvements,
        best=course.best,
        target=task.target,
        reached=reached_at(course.improvements, task.target, task.budget),
        potential=search.evaluator.name,
        software=software_versions(),
        library="" if library is None else library.name,
        prototypes=None if prototypes is None else count_by_space_group(prototypes, settings),
        space_groups=energy_by_space_group(course.found),
        lowest=_lowest(course.found, task, settings, tier),
    )
    return with_answer(row, task) if task.finish else row


def _lowest(
    found: Sequence[Found], task: SearchTask, settings: SearchSettings, tier: RelaxSettings
) -> list[FoundStructure]:
    """Return the lowest different structures with their types, if there is a library."""
    index, symprec = _types(task, settings), tier.report_symprec[1]
    name = None if index is None else index.name
    return [describe(one, index, symprec) for one in lowest_structures(found, settings, symprec, name=name)]


def _types(task: SearchTask, settings: SearchSettings) -> TypeIndex | None:
    """Return the types of the library that names structures, if there is one."""
    library = read_library(task.prototypes)
    return None if library is None else TypeIndex(library_from_text(library.of(settings)))


def with_answer(row: SearchRow, task: SearchTask) -> SearchRow:
    """Return the row of a search with the phases among its lowest structures, and their order under a second potential.

    What the row has of these is kept.

    Args:
        row: row of the search, possibly of an earlier version.
        task: the search.

    Raises:
        InputError: if a setting is wrong, or the second potential is not installed.
    """
    settings, tier = task.settings()
    phases, seconds = row.answer, row.answer_seconds
    if phases is None:
        phases, seconds = [], 0.0
        if row.lowest:
            phases, seconds = finished_structures(row.lowest, make_evaluator(tier), tier, _types(task, settings))
    second = row.second
    if task.second is not None and lacks_second(row, task):
        second = second_order(phases, task.second, tier)
    return row.model_copy(update={"answer": phases, "answer_seconds": round(seconds or 0.0, 2), "second": second})


def lacks_second(row: SearchRow, task: SearchTask) -> bool:
    """Return whether a row is to have an order of its phases under a second potential that it does not have."""
    return task.second is not None and (row.second is None or row.second.potential != find_model(task.second).name)


@contextmanager
def _single_threads() -> Iterator[None]:
    """Let new processes have one thread each."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


Outcome = tuple[SearchTask, SearchRow | Exception]
"""A search with its row, or with its error."""


def run_tasks(tasks: Sequence[SearchTask], processes: int) -> Iterator[Outcome]:
    """Run searches and yield each as it ends; a failed one does not stop the others.

    Args:
        tasks: the searches.
        processes: number of searches side by side, each in a process with one thread; one runs in this process.
    """
    if processes == 1:
        for task in tasks:
            yield task, _outcome(task)
        return
    context = multiprocessing.get_context("spawn")
    with _single_threads(), ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting = {pool.submit(_outcome, task): task for task in tasks}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:  # if the caller stops early, no other search begins
            pool.shutdown(wait=False, cancel_futures=True)


def _outcome(task: SearchTask) -> SearchRow | Exception:
    try:
        return run_task(task)
    except Exception as error:  # noqa: BLE001 - the other searches continue
        return error
