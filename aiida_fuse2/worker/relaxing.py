"""A batch of relaxations: one model per process, results written as they come."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from ase import Atoms

from aiida_fuse2.core.potentials.evaluation import Evaluator
from aiida_fuse2.core.relaxers import RelaxedStructure, make_evaluator, relax
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.core.trials import Trial

from .files import select_trials, to_extxyz, trials_from_text
from .names import RELAXED_FILE, RESULTS_FILE, SOFTWARE_FILE, TRIALS_FILE
from .software import software_versions

_EVALUATORS: dict[str, Evaluator] = {}
"""The potential of this process; the model is loaded once."""


def _evaluator(settings: RelaxSettings) -> Evaluator:
    key = settings.model_dump_json()
    if key not in _EVALUATORS:
        _EVALUATORS[key] = make_evaluator(settings)
    return _EVALUATORS[key]


def _relax_one(work: tuple[Atoms, RelaxSettings]) -> RelaxedStructure:
    atoms, settings = work
    return relax(atoms, _evaluator(settings), settings)


def relax_all(trials: Sequence[Trial], settings: RelaxSettings) -> Iterator[tuple[Trial, RelaxedStructure]]:
    """Relax trials and yield each with its result as soon as it is there.

    Each process works on one structure at a time, so no result depends on what else is in the batch. Large
    structures begin first, so that none is still at work when the other processes have nothing left to do.

    Raises:
        InputError: where the potential cannot be made.
    """
    processes = min(settings.processes, len(trials))
    if processes <= 1:
        _evaluator(settings)
        for trial in trials:
            yield trial, _relax_one((trial.atoms, settings))
        return
    ordered = sorted(trials, key=lambda trial: -len(trial.atoms))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting = {pool.submit(_relax_one, (trial.atoms, settings)): trial for trial in ordered}
        for done in as_completed(waiting):
            yield waiting[done], done.result()


def run_relax_job(job: dict[str, Any], folder: Path) -> None:
    """Run a relaxation job in a folder.

    Args:
        job: ``settings`` of the tier, and ``labels`` of the trials to relax; all of them where it is None.
        folder: holds ``trials.extxyz``; results are added line by line.

    Raises:
        InputError: where settings are wrong or the calculator is missing.
    """
    settings = parse_settings(RelaxSettings, job["settings"], where="relax.settings")
    (folder / SOFTWARE_FILE).write_text(json.dumps(software_versions()))
    trials = select_trials(trials_from_text((folder / TRIALS_FILE).read_text()), job["labels"])
    with (folder / RESULTS_FILE).open("w") as results, (folder / RELAXED_FILE).open("w") as relaxed:
        for trial, outcome in relax_all(trials, settings):
            label = trial.info.label
            relaxed.write(to_extxyz([(outcome.atoms, {"label": label, "status": outcome.status})]))
            relaxed.flush()
            results.write(json.dumps({"label": label, **outcome.to_dict()}) + "\n")
            results.flush()
