"""Pair potentials of one composition, learned from another potential, the teacher.

A handful of relaxations with the teacher gives frames from random structures down to minima; single points of more
random structures teach the energies that ranking needs; and rounds of relaxing with the fit, and asking the teacher
about the results, remove the minima that only the fit has (Pickard, Phys. Rev. B 2022, 106, 014102, DOI
10.1103/PhysRevB.106.014102, learns potentials for structure prediction in such rounds). The paper suggests
potentials learned for the composition where the published ones do not work (its section on YWB4). These are not
the published statistically derived ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.stats import spearmanr

from aiida_fuse2.core.crystal.validity import check_validity
from aiida_fuse2.core.errors import GenerationError, RelaxationError
from aiida_fuse2.core.generators import GeneratorContext, single_generator
from aiida_fuse2.core.potentials.evaluation import Evaluation, Evaluator
from aiida_fuse2.core.potentials.pair.engine import PairEvaluator
from aiida_fuse2.core.potentials.pair.fitting import Fit, Frame, PairFitter
from aiida_fuse2.core.potentials.pair.library import pair_name
from aiida_fuse2.core.relaxers.driver import relax
from aiida_fuse2.core.rng import Purpose, keyed_generator
from aiida_fuse2.core.settings import RelaxSettings

from .pair_settings import LearnSettings

EARLY = 1.5
"""Exponent by which frames are chosen more densely at the beginning of a relaxation, where they differ more."""

ATTEMPTS = 200
"""Attempts at a random structure, in multiples of the required number, before learning fails."""


@dataclass(frozen=True, eq=False)
class Learned:
    """Learned pair potentials.

    Attributes:
        fit: the library and the energy that it omits.
        frames: the data that it was fitted to.
        report: plain values for people.
    """

    fit: Fit
    frames: list[Frame]
    report: dict[str, Any]


class _Recorder:
    """An evaluator that keeps the geometries that it evaluates, and the results."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.name = evaluator.name
        self.frames: list[Frame] = []
        self._evaluator = evaluator

    def evaluate(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Evaluation:
        """Return energy, forces and stress."""
        found = self._evaluator.evaluate(numbers, positions, cell)
        self.frames.append(Frame(np.array(numbers), np.array(positions), np.array(cell), found))
        return found


class _Stage(IntEnum):
    """The purpose of structures; part of the key of their random numbers. Rounds continue from the last number."""

    RELAXED = 0
    RANDOM = 1
    HELD_OUT = 2
    ROUND = 3


def random_structures(settings: LearnSettings, stage: int, number: int) -> list[Atoms]:
    """Return random structures of the composition, the generators in turn.

    Args:
        settings: settings of learning.
        stage: purpose of the structures; part of the random key.
        number: number of structures.

    Raises:
        GenerationError: if there are too few.
    """
    context = GeneratorContext.of(
        settings, settings.validity, max_atoms=settings.max_atoms, min_atoms=settings.min_atoms
    )
    generators = [single_generator(name) for name in settings.generators]
    found: list[Atoms] = []
    for attempt in range(ATTEMPTS * number):
        if len(found) == number:
            break
        rng = keyed_generator(settings.seed, Purpose.LEARN, generation=stage, attempt=attempt)
        try:
            atoms = generators[len(found) % len(generators)](context, rng)
        except GenerationError:
            continue
        refusal = check_validity(
            atoms, unit=settings.unit, radii=context.radii, max_atoms=settings.max_atoms, settings=settings.validity
        )
        if refusal is None:
            found.append(atoms)
    if len(found) < number:
        raise GenerationError("too_few_structures", f"{len(found)} of {number} after {ATTEMPTS * number} attempts")
    return found


def _rattled(atoms: Atoms, settings: LearnSettings, stage: int, index: int) -> Atoms:
    """Return a structure whose symmetry is broken."""
    moved = atoms.copy()
    rng = keyed_generator(settings.seed, Purpose.LEARN, generation=stage, trial=1 + index)
    moved.positions += rng.normal(scale=settings.rattle, size=moved.positions.shape)
    return moved


def thinned(frames: Sequence[Frame], number: int) -> list[Frame]:
    """Return at most this many frames of a relaxation, first and last among them, more from its beginning."""
    if not frames:
        return []
    places = np.linspace(0, 1, number) ** EARLY * (len(frames) - 1)
    return [frames[index] for index in np.unique(np.round(places).astype(int))]


def _is_finite(frame: Frame) -> bool:
    found = frame.target
    return bool(np.isfinite(found.energy) and np.isfinite(found.forces).all() and np.isfinite(found.stress).all())


def _evaluated(teacher: Evaluator, structures: Sequence[Atoms]) -> list[Frame]:
    """Return the frames of structures as they are, except those that the teacher cannot handle."""
    recorder = _Recorder(teacher)
    for atoms in structures:
        try:
            recorder.evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
        except RelaxationError:
            continue
    return [frame for frame in recorder.frames if _is_finite(frame)]


def _relaxed(teacher: Evaluator, settings: LearnSettings, tier: RelaxSettings) -> Iterator[Frame]:
    """Yield frames of relaxations with the teacher."""
    for index, atoms in enumerate(random_structures(settings, _Stage.RELAXED, settings.relaxations)):
        recorder = _Recorder(teacher)
        relax(_rattled(atoms, settings, _Stage.RELAXED, index), recorder, tier)
        yield from filter(_is_finite, thinned(recorder.frames, settings.frames_per_relaxation))


def _round(number: int, fit: Fit, teacher: Evaluator, settings: LearnSettings, tier: RelaxSettings) -> Iterator[Frame]:
    """Yield the teacher's values for geometries to which relaxing with the fit leads."""
    stage = _Stage.ROUND + number
    own = tier.model_copy(update={"fmax": settings.fmax, "max_steps": settings.max_steps})
    for index, atoms in enumerate(random_structures(settings, stage, settings.structures_per_round)):
        recorder = _Recorder(PairEvaluator(fit.library))
        relax(_rattled(atoms, settings, stage, index), recorder, own)
        chosen = thinned(recorder.frames, settings.frames_per_structure + 1)[1:]  # the start adds little information
        structures = [
            Atoms(numbers=frame.numbers, positions=frame.positions, cell=frame.cell, pbc=True) for frame in chosen
        ]
        yield from _evaluated(teacher, structures)


def learn_potential(settings: LearnSettings, tier: RelaxSettings, teacher: Evaluator) -> Learned:
    """Learn pair potentials of a composition.

    Args:
        settings: settings of learning.
        tier: settings of relaxing, with the teacher and with the fit.
        teacher: the potential to learn from.

    Raises:
        GenerationError: if the generators make too few structures.
    """
    started = time.process_time()
    fitter = PairFitter(
        settings.unit.elements,
        cutoff=settings.cutoff,
        knot_distance=settings.knot_distance,
        weights=settings.weights.to_weights(),
    )
    frames = list(_relaxed(teacher, settings, tier))
    if settings.random_structures:
        frames += _evaluated(teacher, random_structures(settings, _Stage.RANDOM, settings.random_structures))
    held_out = _evaluated(teacher, random_structures(settings, _Stage.HELD_OUT, settings.held_out))
    fitter.add(frames)
    fit = fitter.fit()
    spent = time.process_time() - started
    courses = [_quality(fit, held_out)]
    for number in range(settings.rounds):
        found = list(_round(number, fit, teacher, settings, tier))
        fitter.add(found)
        frames += found
        fit = fitter.fit()
        courses.append(_quality(fit, held_out))
    report = {
        "composition": settings.unit.formula,
        "teacher": teacher.name,
        "seed": settings.seed,
        "frames": len(frames),
        "held_out": {"structures": len(held_out), **courses[-1]},
        "held_out_by_round": courses,
        "training": _quality(fit, frames),
        "energy_offset": fit.offset,
        "shortest_distances": {pair_name(pair): round(d, 3) for pair, d in fit.shortest.items()},
        "cpu_seconds_before_rounds": round(spent, 2),
        "cpu_seconds": round(time.process_time() - started, 2),
    }
    return Learned(fit, frames, report)


def _quality(fit: Fit, frames: Sequence[Frame]) -> dict[str, float | None]:
    """Return how well a fit predicts energies and forces: residuals (eV/atom, eV/Å) and rank correlation."""
    evaluator = PairEvaluator(fit.library)
    known, own, forces = [], [], []
    for frame in frames:
        found = evaluator.evaluate(frame.numbers, frame.positions, frame.cell)
        known.append(frame.target.energy / len(frame.numbers))
        own.append(found.energy / len(frame.numbers) + fit.offset)
        forces.append(np.square(found.forces - frame.target.forces).ravel())
    rank = float(spearmanr(known, own)[0]) if len(set(known)) > 1 else None
    return {
        "spearman": rank,
        "energy_rmse": float(np.sqrt(np.mean(np.square(np.subtract(known, own))))),
        "energy_deviation": float(np.std(known)),
        "force_rmse": float(np.sqrt(np.mean(np.concatenate(forces)))),
    }
