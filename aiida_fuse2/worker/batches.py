"""Relaxations in batches: each process evaluates many of its structures at once with PyTorch."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from aiida_fuse2.core.potentials.evaluation import BatchEvaluator, Prepared
from aiida_fuse2.core.relaxers import RelaxedStructure, evaluator_of
from aiida_fuse2.core.relaxers.batch import relax_batch
from aiida_fuse2.core.search.trials import Trial
from aiida_fuse2.core.settings import CHGNET, JOINT_LBFGS, RelaxSettings

from .cores import cores_of_job
from .processes import Lost, stream_all

CUDA = "cuda"

CPU_BYTES = 0.05e9
"""Largest memory of a batch on the CPU, bytes: larger ones leave the caches and are slower there, as measured."""

GROUPS_PER_PROCESS = 4
"""Groups that each of several processes relaxes one after the other, so that none waits long for another."""


@dataclass(frozen=True)
class _Group:
    """Trials that one process relaxes.

    Attributes:
        trials: in the order in which they begin.
        settings: settings of the tier.
        max_bytes: memory of those that are evaluated at once, bytes.
        halvings: how often the group was halved, because its process had ended.
    """

    trials: tuple[Trial, ...]
    settings: RelaxSettings
    max_bytes: float
    halvings: int = 0


def relaxes_in_batches(settings: RelaxSettings) -> bool:
    """Return whether a tier is relaxed in batches: CHGNet by PyTorch, with the optimiser of this package."""
    by_torch = settings.backend == "torch" or (settings.backend == "auto" and settings.device == CUDA)
    return settings.calculator == CHGNET and settings.optimizer == JOINT_LBFGS and by_torch


def relax_together(trials: Sequence[Trial], settings: RelaxSettings) -> Iterator[tuple[Trial, RelaxedStructure | None]]:
    """Relax trials in batches and yield each with its result as soon as it is finished.

    If a process ends, the structures that it has not finished continue in two halves, each with half of the memory.
    One whose process ends although it is alone there is left out.

    Args:
        trials: in the order in which they begin.
        settings: settings of the tier.

    Yields:
        Trials with their results; None if memory is lacking.

    Raises:
        Fuse2Error: see ``stream_all``.
    """
    processes = settings.processes or (1 if settings.device == CUDA else cores_of_job(os.environ))
    max_bytes = settings.batch_memory * 1e9
    if settings.device != CUDA:
        max_bytes = min(max_bytes, CPU_BYTES)
    n_groups = 1 if processes == 1 else GROUPS_PER_PROCESS * processes
    dealt = [tuple(trials[k::n_groups]) for k in range(min(n_groups, len(trials)))]
    groups = [_Group(own, settings, max_bytes) for own in dealt]
    finished: set[str] = set()
    while groups:
        broken: list[_Group] = []
        for group, outcome in stream_all(_relax_group, groups, processes, prepare=_prepare):
            if isinstance(outcome, Lost):
                left = tuple(trial for trial in group.trials if trial.info.label not in finished)
                names = ", ".join(trial.info.label for trial in left)
                sys.stderr.write(f"halves of a batch are tried, since {outcome.detail}: {names}\n")
                broken.append(replace(group, trials=left))
            else:
                number, result = outcome
                finished.add(group.trials[number].info.label)
                yield group.trials[number], result
        groups = [half for group in broken for half in _halves(group)]


def _halves(group: _Group) -> list[_Group]:
    if len(group.trials) < 2:
        return []
    middle = len(group.trials) // 2
    smaller = replace(group, max_bytes=group.max_bytes / 2, halvings=group.halvings + 1)
    return [replace(smaller, trials=half) for half in (group.trials[:middle], group.trials[middle:])]


def _prepare(group: _Group) -> None:
    evaluator_of(group.settings)


def _relax_group(group: _Group) -> Generator[tuple[int, RelaxedStructure | None], None, None]:
    """Yield the position of each trial in the group and its result."""
    evaluator = cast("BatchEvaluator[Prepared]", evaluator_of(group.settings))
    by_label = {trial.info.label: number for number, trial in enumerate(group.trials)}
    structures = [(trial.info.label, trial.atoms) for trial in group.trials]
    settings, max_bytes, halvings = group.settings, group.max_bytes, group.halvings
    for label, result in relax_batch(structures, evaluator, settings, max_bytes=max_bytes, halvings=halvings):
        yield by_label[label], result
