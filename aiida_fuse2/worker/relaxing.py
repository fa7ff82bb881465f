"""A batch of relaxations: one model per process, results written one by one."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from aiida_fuse2.core.potentials.pair import read_library, write_library
from aiida_fuse2.core.relaxers import RelaxedStructure, evaluator_of, kernel_problem, relax
from aiida_fuse2.core.search.trials import Trial
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.io.names import POTENTIAL_FILE, RELAXED_FILE, RESULTS_FILE, SOFTWARE_FILE, TRIALS_FILE
from aiida_fuse2.io.trials import select_trials, to_extxyz, trials_from_text

from .batches import relax_together, relaxes_in_batches
from .cores import cores_of_job
from .processes import Lost, run_all
from .software import calculator_versions, software_versions, weights_versions


def _prepare(work: tuple[Trial, RelaxSettings, str | None]) -> None:
    evaluator_of(*work[1:])


def lost_structure(trial: Trial, lost: Lost, potential: str) -> RelaxedStructure:
    """Return the result of a structure that killed or blocked its process.

    Args:
        trial: the structure.
        lost: outcome of the piece of work.
        potential: name of the potential.
    """
    start = Atoms(numbers=trial.atoms.numbers, positions=trial.atoms.positions, cell=trial.atoms.cell, pbc=True)
    values = {"potential": potential, "evaluations": 0, "cpu_seconds": 0.0}
    return RelaxedStructure(str(lost.reason), lost.detail, start, values, None)


def _relax_one(work: tuple[Trial, RelaxSettings, str | None]) -> RelaxedStructure | None:
    """Return the result of relaxing; None if memory was lacking."""
    trial, settings, potential = work
    try:
        return relax(trial.atoms, evaluator_of(settings, potential), settings)
    except MemoryError:
        traceback.print_exc()
        return None


def relax_all(
    trials: Sequence[Trial], settings: RelaxSettings, potential: str | None = None
) -> Iterator[tuple[Trial, RelaxedStructure]]:
    """Relax trials and yield each with its result as soon as it is finished.

    Each process works on one structure at a time, so no result depends on what else is in the job, or on a batch of
    them where PyTorch computes CHGNet, which changes the rounding. Large structures begin first, so that none is still
    running when the other processes have finished.

    Args:
        trials: in any order.
        settings: settings of the tier.
        potential: text of the library if the calculator is ``pair``.

    Raises:
        InputError: if the potential cannot be made.
        Fuse2Error: if no process can work, or the wall time of the job is used up; see ``run_all``.
        MemoryError: at the end, if memory was lacking for some of them: this is not a failure of the trials, and
            they have more memory in a job of their own.
    """
    processes = min(settings.processes or cores_of_job(os.environ), len(trials))
    ordered = list(trials)
    if processes > 1:
        ordered.sort(key=lambda trial: -len(trial.atoms))
    starved, finished = [], set()
    for trial, found in relax_together(ordered, settings) if len(trials) > 1 and relaxes_in_batches(settings) else ():
        finished.add(trial.info.label)
        if found is None:
            starved.append(trial.info.label)
        else:
            yield trial, found
    work = [(trial, settings, potential) for trial in ordered if trial.info.label not in finished]
    for (trial, _, _), outcome in run_all(_relax_one, work, processes, prepare=_prepare):
        if outcome is None:
            starved.append(trial.info.label)
        else:
            yield trial, lost_structure(trial, outcome, settings.calculator) if isinstance(outcome, Lost) else outcome
    if starved:
        raise MemoryError(f"not enough memory to relax {', '.join(starved)}")


def needed_potential(text: str, trials: Sequence[Trial], *, where: str = "potential") -> str:
    """Return the part of a library that trials need, which may be a small fraction.

    Raises:
        InputError: if the library cannot be read, or lacks a pair of elements of a trial.
    """
    library = read_library(text, where=where)
    for elements in {frozenset(trial.atoms.symbols) for trial in trials}:
        library.require(elements, where=where)
    return write_library(library.restricted({symbol for trial in trials for symbol in trial.atoms.symbols}))


def run_relax_job(job: dict[str, Any], folder: Path) -> None:
    """Run a relaxation job in a folder.

    Args:
        job: ``settings`` of the tier, and ``labels`` of the trials to relax; all of them where it is None.
        folder: holds ``trials.extxyz`` and, for the calculator ``pair``, ``potential.lib``; results are added line
            by line.

    Raises:
        InputError: if settings are wrong or the calculator is missing.
    """
    trials, settings, potential = prepare_relaxations(job["settings"], job["labels"], folder)
    write_results(folder, relax_all(trials, settings, potential))


def prepare_relaxations(
    values: dict[str, Any], labels: Sequence[str] | None, folder: Path
) -> tuple[list[Trial], RelaxSettings, str | None]:
    """Return the trials of a job, the settings that its processes use, and the text of the library they need.

    Versions of the software are written to the folder.

    Args:
        values: settings of the tier.
        labels: labels of the trials; all of them where it is None.
        folder: folder of the job.

    Raises:
        InputError: if settings are wrong, or the calculator is missing or has other weights.
    """
    settings = parse_settings(RelaxSettings, values, where="relax.settings")
    versions = software_versions() | calculator_versions(settings.calculator, settings.arguments)
    versions |= weights_versions(settings)
    if (problem := kernel_problem(settings)) is not None:
        versions["native kernel"] = f"not used: {problem}"
        settings = settings.model_copy(update={"backend": "torch"})  # so that no process tries the kernel again
        sys.stderr.write(f"PyTorch computes CHGNet, several times slower: {problem}\n")
    (folder / SOFTWARE_FILE).write_text(json.dumps(versions))
    trials = select_trials(trials_from_text((folder / TRIALS_FILE).read_text()), labels)
    path, potential = folder / POTENTIAL_FILE, None
    if path.exists():
        potential = needed_potential(path.read_text(), trials, where="relax.potential")
    return trials, settings, potential


def write_results(folder: Path, outcomes: Iterable[tuple[Trial, RelaxedStructure]]) -> None:
    """Write results and geometries one by one: after a kill, the written lines are complete.

    Args:
        folder: folder of the job.
        outcomes: each trial with its outcome.
    """
    with (folder / RESULTS_FILE).open("w") as results, (folder / RELAXED_FILE).open("w") as relaxed:
        for trial, outcome in outcomes:
            label = trial.info.label
            relaxed.write(to_extxyz([(outcome.atoms, {"label": label, "status": outcome.status})]))
            relaxed.flush()
            results.write(json.dumps({"label": label, **outcome.to_dict()}) + "\n")
            results.flush()
