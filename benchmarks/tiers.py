"""Searches with and without a tier of pair potentials before CHGNet, at equal CPU time.

    python benchmarks/tiers.py --out benchmarks/results/tiers.jsonl --seconds 180 --processes 2 \
        Ca3Ti2O7:24:fgen Ca3Ti2O7:24:gnoa CoAs2:24:fgen CoAs2:24:gnoa Li3Si3O5Cl5:32:fgen Li3Si3O5Cl5:32:gnoa
    python benchmarks/tiers.py --out benchmarks/results/tiers.jsonl --table

A task is composition : most atoms : generator; each is run with and without the tier for each seed, in one process
without AiiDA, with the protocol ``balanced``. Learning the potentials, with the default protocol, is in the CPU
time of a search with the tier. One line per search is added; those that are in the file are not made again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import warnings
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aiida_fuse2.benchmarks.course import Course
from aiida_fuse2.benchmarks.local_search import LocalSearch, parse
from aiida_fuse2.benchmarks.searches import NO_LIMIT
from aiida_fuse2.core.potentials.evaluation import Evaluator
from aiida_fuse2.core.potentials.pair import PairEvaluator
from aiida_fuse2.core.relaxers import make_evaluator
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.core.training.pair import learn_potential
from aiida_fuse2.core.training.pair_settings import LearnSettings
from aiida_fuse2.launch.potentials import learning_inputs
from aiida_fuse2.protocols import protocol_inputs


class Task(NamedTuple):
    """A search that is to be measured; ``first`` is the tier before CHGNet, or empty."""

    composition: str
    max_atoms: int
    generator: str
    seed: int
    first: str
    seconds: float


def learned(task: Task, tier: RelaxSettings, teacher: Evaluator) -> tuple[RelaxSettings, Evaluator]:
    """Return the first tier, with potentials learned for the composition."""
    changes = {"settings": {"max_atoms": task.max_atoms, "seed": task.seed}}
    inputs = learning_inputs(task.composition, None, changes)
    fit = learn_potential(parse_settings(LearnSettings, inputs["settings"]), tier, teacher).fit
    changed = protocol_inputs("balanced", name="tiers")["pair"]["settings"]
    return tier.model_copy(update=changed), PairEvaluator(fit.library)


def measure(task: Task) -> dict[str, Any]:
    """Run a search and return its row."""
    warnings.filterwarnings("ignore")
    own = {"max_atoms": task.max_atoms, "seed": task.seed, "starts": {task.generator: 1}, "pool": {"processes": 1}}
    limits = {"max_structures": NO_LIMIT, "rmax": NO_LIMIT}
    settings, tier = parse(task.composition, "balanced", {"settings": {**own, **limits}})
    course = Course(task.seconds)
    evaluator = make_evaluator(tier)
    before = [learned(task, tier, evaluator)] if task.first else []
    learning = course.seconds
    search = LocalSearch(
        settings=settings,
        tier=tier,
        evaluator=evaluator,
        before=before,
        observe=course.observe,
        stop=lambda: course.seconds >= task.seconds,
    )
    for _ in search.steps():
        pass
    return {
        **task._asdict(),
        "cpu_seconds": round(course.seconds, 2),
        "learning_seconds": round(learning, 2) if before else 0.0,
        "pool_seconds": round(search.pool_seconds, 2),
        "structures": course.tried,
        "failures": dict(course.failures),
        "energy": None if course.best is None else course.best.energy,
        "course": [improvement.model_dump() for improvement in course.improvements],
    }


def run(tasks: list[Task], out: Path, processes: int) -> None:
    """Run the searches that are not in the file."""
    done = {tuple(row[name] for name in Task._fields) for row in read_rows(out)}
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(measure, task) for task in tasks if task not in done]):
            row = future.result()
            with out.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print({name: row[name] for name in (*Task._fields, "structures", "energy")}, flush=True)


def read_rows(out: Path) -> list[dict[str, Any]]:
    """Return the rows of the file."""
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print a line per composition, generator and first tier; figures of the seeds stand side by side."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["seed"]):
        groups[row["composition"], row["generator"], row["first"]].append(row)
    print(
        "| composition | starts | tiers | structures | failed | CPU s per structure | best, eV/atom | learning, CPU s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for (composition, generator, first), group in sorted(groups.items()):
        tiers = f"{first}, chgnet" if first else "chgnet"
        columns = (
            [str(row["structures"]) for row in group],
            [str(sum(row["failures"].values())) for row in group],
            [f"{(row['cpu_seconds'] - row['learning_seconds']) / row['structures']:.2f}" for row in group],
            [f"{row['energy']:.4f}" for row in group],
            [f"{np.mean([row['learning_seconds'] for row in group]):.0f}"],
        )
        print(f"| {composition} | {generator} | {tiers} | " + " | ".join(", ".join(texts) for texts in columns) + " |")


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print_table(read_rows(options.out))
        return
    tasks = []
    for text, seed, first in itertools.product(options.tasks, options.seeds.split(","), ("", "pair")):
        composition, atoms, generator = text.split(":")
        tasks.append(Task(composition, int(atoms), generator, int(seed), first, options.seconds))
    run(tasks, options.out, options.processes)


if __name__ == "__main__":
    main()
