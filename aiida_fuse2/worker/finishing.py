"""The ladders of symmetries of a batch of structures: one model per process, results written one by one."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from aiida_fuse2.core.answer.ladder import Ladder, climb
from aiida_fuse2.core.answer.settings import AnswerSettings
from aiida_fuse2.core.relaxers import evaluator_of
from aiida_fuse2.core.search.trials import Trial
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.io.names import RESULTS_FILE, RUNGS_FILE
from aiida_fuse2.io.trials import to_extxyz

from .cores import cores_of_job
from .processes import Lost, run_all
from .relaxing import prepare_relaxations

Work = tuple[Trial, RelaxSettings, AnswerSettings, str | None]


def _prepare(work: Work) -> None:
    evaluator_of(work[1], work[3])


def _climb(work: Work) -> Ladder | None:
    """Return the ladder of a structure; None if memory was lacking."""
    trial, tier, settings, potential = work
    try:
        return climb(trial.atoms, evaluator_of(tier, potential), tier, settings)
    except MemoryError:
        traceback.print_exc()
        return None


def climb_all(
    trials: Sequence[Trial], tier: RelaxSettings, settings: AnswerSettings, potential: str | None = None
) -> Iterator[tuple[Trial, Ladder]]:
    """Yield each structure with its ladder as soon as it is finished, large structures first.

    Args:
        trials: structures, as a search has relaxed them.
        tier: settings of the tier that relaxed them.
        settings: settings of the answer.
        potential: text of the library if the calculator is ``pair``.

    Raises:
        InputError: if the potential cannot be made.
        Fuse2Error: if no process can work, or the wall time of the job is used up; see ``run_all``.
        MemoryError: at the end, if memory was lacking for some of them.
    """
    processes = min(tier.processes or cores_of_job(os.environ), len(trials))
    ordered = sorted(trials, key=lambda trial: -len(trial.atoms)) if processes > 1 else trials
    work: list[Work] = [(trial, tier, settings, potential) for trial in ordered]
    starved = []
    for (trial, *_), outcome in run_all(_climb, work, processes, prepare=_prepare):
        if outcome is None:
            starved.append(trial.info.label)
        elif isinstance(outcome, Lost):
            yield trial, Ladder(str(outcome.reason), outcome.detail, (), tier.fmax, tier.calculator, 0.0)
        else:
            yield trial, outcome
    if starved:
        raise MemoryError(f"not enough memory to finish {', '.join(starved)}")


def run_finish_job(job: dict[str, Any], folder: Path) -> None:
    """Run a finishing job in a folder.

    Args:
        job: ``settings`` of the answer, ``relax`` of the tier, and ``labels`` of the structures; all where it is None.
        folder: holds ``trials.extxyz`` and, for the calculator ``pair``, ``potential.lib``; results are added line
            by line.

    Raises:
        InputError: if settings are wrong or the calculator is missing.
    """
    settings = parse_settings(AnswerSettings, job["settings"])
    trials, tier, potential = prepare_relaxations(job["relax"], job["labels"], folder)
    write_ladders(folder, climb_all(trials, tier, settings, potential))


def write_ladders(folder: Path, outcomes: Iterable[tuple[Trial, Ladder]]) -> None:
    """Write ladders and their geometries one by one: after a kill, the written lines are complete.

    Args:
        folder: folder of the job.
        outcomes: each structure with its ladder.
    """
    with (folder / RESULTS_FILE).open("w") as results, (folder / RUNGS_FILE).open("w") as rungs:
        for trial, ladder in outcomes:
            label = trial.info.label
            rungs.write(to_extxyz((rung.atoms, {"label": label, "rung": i}) for i, rung in enumerate(ladder.rungs)))
            rungs.flush()
            results.write(json.dumps({"label": label, **ladder.to_dict()}) + "\n")
            results.flush()
