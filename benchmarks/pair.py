"""What learned pair potentials are worth: ranking of random structures, relaxed structures, and cost.

    python benchmarks/pair.py --out benchmarks/results/pair.jsonl Ca3Ti2O7:24:1 Ca3Ti2O7:24:24

A task is composition, most atoms, fewest atoms. Learns with the default protocol, then computes and relaxes random
structures of either generator that the fit has not seen, and asks CHGNet about them. One line per task is added.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from scipy.stats import spearmanr

from aiida_fuse2.core.potentials.evaluation import Evaluator
from aiida_fuse2.core.potentials.pair import PairEvaluator
from aiida_fuse2.core.relaxers import make_evaluator, relax
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.core.training.pair import learn_potential, random_structures
from aiida_fuse2.core.training.pair_settings import LearnSettings
from aiida_fuse2.launch.potentials import learning_inputs

UNSEEN = 60
"""Structures of each generator that are ranked."""

RELAXED = 15
"""Structures of each generator that are relaxed."""

STAGE = 1000
"""Part of the random key, beyond those of learning."""


def energy(evaluator: Evaluator, atoms: Atoms) -> float:
    """Return the energy per atom, eV."""
    return evaluator.evaluate(atoms.numbers, atoms.positions, atoms.cell.array).energy / len(atoms)


def milliseconds(evaluator: Evaluator, atoms: Atoms) -> float:
    """Return the CPU time of an evaluation, ms."""
    energy(evaluator, atoms)
    started = time.process_time()
    for _ in range(50):
        energy(evaluator, atoms)
    return round((time.process_time() - started) * 1000 / 50, 2)


def relaxed(
    engine: PairEvaluator, teacher: Evaluator, structures: list[Atoms], tier: RelaxSettings
) -> dict[str, object]:
    """Return where relaxing with the fit leads, as CHGNet sees it."""
    found = [(atoms, relax(atoms, engine, tier)) for atoms in structures]
    good = [(atoms, result) for atoms, result in found if result.status == CONVERGED]
    return {
        "relaxed": len(found),
        "converged": len(good),
        "energy_before": round(float(np.mean([energy(teacher, atoms) for atoms, _ in good])), 3),
        "energy_after": round(float(np.mean([energy(teacher, result.atoms) for _, result in good])), 3),
        "evaluations": round(float(np.mean([result.values["evaluations"] for _, result in found])), 1),
        "cpu_seconds": round(float(np.mean([result.values["cpu_seconds"] for _, result in found])), 3),
    }


def measure(task: str) -> dict[str, Any]:
    """Return the figures of a task."""
    composition, most, fewest = task.split(":")
    inputs = learning_inputs(composition, None, {"settings": {"max_atoms": int(most), "min_atoms": int(fewest)}})
    settings = parse_settings(LearnSettings, inputs["settings"])
    tier = parse_settings(RelaxSettings, inputs["relax"])
    teacher = make_evaluator(tier)
    learned = learn_potential(settings, tier, teacher)
    engine = PairEvaluator(learned.fit.library)
    own = tier.model_copy(update={"fmax": settings.fmax, "max_steps": settings.max_steps})
    row: dict[str, Any] = {"task": task, "report": learned.report}
    known, fitted = [], []
    for index, name in enumerate(settings.generators):
        one = settings.model_copy(update={"generators": [name]})
        structures = random_structures(one, STAGE + index, UNSEEN)
        pairs = [(energy(teacher, atoms), energy(engine, atoms)) for atoms in structures]
        known += [pair[0] for pair in pairs]
        fitted += [pair[1] for pair in pairs]
        row[name] = {"spearman": round(float(spearmanr(*zip(*pairs, strict=True))[0]), 3)}
        row[name] |= relaxed(engine, teacher, structures[:RELAXED], own)
        if len(structures[0]) == int(most) or "ms_per_evaluation" not in row:
            biggest = max(structures, key=len)
            row["ms_per_evaluation"] = {"atoms": len(biggest), "pair": milliseconds(engine, biggest)}
            row["ms_per_evaluation"]["teacher"] = milliseconds(teacher, biggest)
    row["spearman"] = round(float(spearmanr(known, fitted)[0]), 3)
    return row


def main() -> None:
    """Measure the tasks of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    for task in options.tasks:
        row = measure(task)
        with options.out.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
