"""What a search of a given number of structures finds, and at what cost.

    python benchmarks/find.py --out results.jsonl SrTiO3:10:symmetric:1-5 SrTiO3:10:fgen:1-5 TiO2:12:symmetric:1

Each task is composition:atoms:generator:seeds. One line of results per search is added to the file, and
tasks that are in it already are skipped, so a run that was stopped goes on. CPU seconds are those of this
process. With ``--target`` a search ends when it has found that structure.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

from ase import Atoms
from ase.io import read

from aiida_fuse2 import __version__
from aiida_fuse2.benchmarks.local_search import parse, run_search
from aiida_fuse2.core.crystal.uniqueness import match_structures
from aiida_fuse2.core.relaxers.failures import CONVERGED

MATCH_STOL = 0.1


def is_target(atoms: Atoms, target: Atoms | None) -> bool:
    """Return whether a structure is the target, absolute size included."""
    return target is not None and match_structures(atoms, target, stol=MATCH_STOL)


def run_task(composition: str, atoms: int, generator: str, seed: int, options: argparse.Namespace) -> dict:
    """Run one search and return its row."""
    changes = {"generator": generator, "max_atoms": atoms, "seed": seed, "max_structures": options.structures}
    settings, tier = parse(composition, options.protocol, {"settings": changes})
    target = read(options.target) if options.target else None
    started = time.process_time()
    found_at = None
    evaluations, energies, failures = 0, [], {}
    best = None
    for step in run_search(settings, tier):
        for row in step.rows:
            evaluations += row["evaluations"]
            if row["status"] == CONVERGED:
                energies.append(round(row["energy"], 5))
                if found_at is None and is_target(step.geometries[row["label"]], target):
                    found_at = {"structures": step.state.tried - len(step.rows) + step.rows.index(row) + 1}
                    found_at |= {"energy": row["energy"], "cpu_seconds": round(time.process_time() - started, 1)}
            if best is None or row.get("energy", 0) < best["energy"]:
                best = {k: row.get(k) for k in ("energy", "spacegroup_symbol_loose", "n_atoms", "move", "origin")}
        failures = step.state.failures
        if found_at is not None:
            break
    return {
        "composition": composition,
        "max_atoms": atoms,
        "generator": generator,
        "seed": seed,
        "protocol": options.protocol,
        "max_structures": options.structures,
        "tried": step.state.tried,
        "explored": step.state.explored,
        "unique": step.state.unique,
        "best": best,
        "best_at": step.state.best.structure_number if step.state.best else None,
        "found_at": found_at,
        "failures": failures,
        "evaluations": evaluations,
        "cpu_seconds": round(time.process_time() - started, 1),
        "version": __version__,
    }


def main() -> None:
    """Run the tasks that are not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", help="composition:atoms:generator:first-last seed")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--structures", type=int, default=60)
    parser.add_argument("--protocol", default="fast")
    parser.add_argument("--target", type=Path, help="stop when this structure (any format of ASE) is found")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    keys = ("composition", "max_atoms", "generator", "seed", "protocol", "max_structures")
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    done = {tuple(json.loads(line)[key] for key in keys) for line in lines}
    for task in options.tasks:
        composition, atoms, generator, seeds = task.split(":")
        first, _, last = seeds.partition("-")
        for seed in range(int(first), int(last or first) + 1):
            if (composition, int(atoms), generator, seed, options.protocol, options.structures) in done:
                continue
            row = run_task(composition, int(atoms), generator, seed, options)
            with options.out.open("a") as handle:
                handle.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
