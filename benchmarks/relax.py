"""What a relaxation costs and where it ends: optimisers compared on the same random starts.

    python benchmarks/relax.py --out benchmarks/results/relax.jsonl JointLBFGS reference BFGS
    python benchmarks/relax.py --out benchmarks/results/relax.jsonl --table JointLBFGS

The methods are ``JointLBFGS`` and the optimisers of ASE by name, ``CellAwareBFGS`` of ASE, and ``reference``: the
three stages of the reference code. Before a name may stand the code that computes CHGNet: ``stock/reference`` is
what the reference code costs, ``torch/JointLBFGS``, ``avx2/JointLBFGS``; the native kernel is the default. Endings
of ``JointLBFGS``: ``+prerelax``, ``-symmetry`` (not kept). One line per relaxation is added to the file; those that
are in it already are skipped. With ``--table`` the lines are compared with those of the method named.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE, BFGSLineSearch
from ase.optimize.cellawarebfgs import CellAwareBFGS
from ase.optimize.sciopt import SciPyFminCG
from starts import START_SEEDS, evaluator, make_starts, tier

from aiida_fuse2.core.decision import CONVERGED
from aiida_fuse2.core.potentials.evaluation import Evaluation, Evaluator
from aiida_fuse2.core.relaxers import relax
from aiida_fuse2.core.relaxers.ase_optimisers import EvaluatorCalculator

FMAX = 0.05
STAGES = ((SciPyFminCG, 0.5, 500), (FIRE, 0.1, 500), (BFGSLineSearch, FMAX, 1000))
"""The reference recipe: optimiser, force and steps of each stage."""

STARTS = (("SrTiO3", 20), ("Ca3Ti2O7", 24), ("CoAs2", 24), ("Li3Si3O5Cl5", 16))
PER_KIND = 5
MAX_STEPS = 1000
COARSE = (0.3, 0.2, 0.1)
"""Residuals, eV/Å, at which the energy on the way is kept."""


class Recorder:
    """An evaluator that keeps energy per atom and residual of each evaluation."""

    def __init__(self, inner: Evaluator) -> None:
        self.inner, self.name = inner, inner.name
        self.course: list[tuple[float, float]] = []

    def evaluate(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray) -> Evaluation:
        """Return what the potential gives."""
        found = self.inner.evaluate(numbers, positions, cell)
        virial = np.abs(np.linalg.eigvalsh(found.stress)).max() * abs(np.linalg.det(cell)) / len(numbers)
        residual = max(np.linalg.norm(found.forces, axis=1).max(), virial)
        self.course.append((found.energy / len(numbers), float(residual)))
        return found

    def coarse(self) -> dict[str, list[float]]:
        """Return energy and evaluations when each coarse residual was reached first."""
        found = {}
        for limit in COARSE:
            first = next((k for k, (_, residual) in enumerate(self.course) if residual < limit), None)
            if first is not None:
                found[str(limit)] = [round(self.course[first][0], 5), first + 1]
        return found


def reference(atoms: Atoms, recorder: Recorder) -> tuple[str, float]:
    """Relax as the reference code does; return status and energy per atom."""
    working = atoms.copy()
    working.calc = EvaluatorCalculator(recorder)
    for kind, fmax, steps in STAGES:
        converged = kind(FrechetCellFilter(working), logfile=None).run(fmax=fmax, steps=steps)
    return CONVERGED if converged else "step_limit", working.get_potential_energy() / len(working)


def cell_aware(atoms: Atoms, recorder: Recorder) -> tuple[str, float]:
    """Relax with CellAwareBFGS of ASE; its limit of the stress is that of the others at this volume per atom."""
    working = atoms.copy()
    working.calc = EvaluatorCalculator(recorder)
    target = FrechetCellFilter(working, exp_cell_factor=1.0)
    smax = FMAX * len(atoms) / atoms.get_volume()
    converged = CellAwareBFGS(target, logfile=None).run(fmax=FMAX, smax=smax, steps=MAX_STEPS)
    return CONVERGED if converged else "step_limit", working.get_potential_energy() / len(working)


def by_driver(method: str, atoms: Atoms, recorder: Recorder) -> tuple[str, float]:
    """Relax with the package's driver."""
    name = method.removesuffix("+prerelax").removesuffix("-symmetry")
    settings = tier(
        optimizer=name,
        max_steps=MAX_STEPS,
        keep_symmetry=not method.endswith("-symmetry"),
        prerelax={"enabled": method.endswith("+prerelax")},
    )
    found = relax(atoms, recorder, settings)
    return found.status, found.values.get("energy", float("nan"))


def run(method: str, atoms: Atoms) -> dict:
    """Relax one start and return its row."""
    code, _, method = method.rpartition("/")
    recorder = Recorder(evaluator(code or "native"))
    special = {"reference": reference, "CellAwareBFGS": cell_aware}
    started = time.process_time()
    try:
        status, energy = special[method](atoms, recorder) if method in special else by_driver(method, atoms, recorder)
    except Exception as error:  # noqa: BLE001 - a failure is a result
        status, energy = f"{type(error).__name__}", float("nan")
    return {
        "status": status,
        "energy": None if np.isnan(energy) else round(float(energy), 6),
        "evaluations": len(recorder.course),
        "cpu_seconds": round(time.process_time() - started, 3),
        "coarse": recorder.coarse(),
    }


def starts(seed: int) -> Iterator[tuple[dict, Atoms]]:
    """Yield the starts with their names."""
    for composition, most in STARTS:
        for generator in ("fgen", "symmetric"):
            for k, atoms in enumerate(make_starts(composition, most, generator, seed=seed, count=PER_KIND)):
                yield {"composition": composition, "generator": generator, "seed": seed, "start": k}, atoms


def print_table(rows: list[dict], against: str) -> None:
    """Print a line per method, energies and evaluations compared with one of them."""
    keys = ("composition", "generator", "seed", "start")
    by_method: dict[str, dict[tuple, dict]] = {}
    for row in rows:
        by_method.setdefault(row["method"], {})[tuple(row[k] for k in keys)] = row
    base = by_method[against]
    print("| method | evaluations | fgen / symmetric | at most | failures | CPU s | ΔE median | lower/higher |")
    print("|---|---|---|---|---|---|---|---|")
    for method, found in by_method.items():
        counts = np.array([r["evaluations"] for r in found.values()])
        kinds = [np.mean([r["evaluations"] for k, r in found.items() if k[1] == g]) for g in ("fgen", "symmetric")]
        failures = Counter(r["status"] for r in found.values() if r["status"] != CONVERGED)
        pairs = [(r, base[k]) for k, r in found.items() if k in base and r["energy"] and base[k]["energy"]]
        apart = np.array([1e3 * (a["energy"] - b["energy"]) for a, b in pairs])
        error = 1.2533 * apart.std() / np.sqrt(len(apart))  # of a median of normal values
        print(
            f"| {method} | {counts.mean():.0f} | {kinds[0]:.0f} / {kinds[1]:.0f} | {counts.max()} | "
            f"{dict(failures) or 0} | {sum(r['cpu_seconds'] for r in found.values()):.0f} | "
            f"{np.median(apart):+.1f} ± {error:.1f} | {(apart < -5).sum()}/{(apart > 5).sum()} |"
        )


def main() -> None:
    """Run what is not in the results yet, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", help="print a table, compared with this method")
    parser.add_argument("--seeds", default=",".join(map(str, START_SEEDS)))
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    if options.table:
        print_table(rows, options.table)
        return
    done = {(r["method"], r["composition"], r["generator"], r["seed"], r["start"]) for r in rows}
    for seed in map(int, options.seeds.split(",")):
        for name, atoms in starts(seed):
            for method in options.methods:
                if (method, *name.values()) in done:
                    continue
                row = {"method": method, **name, "atoms": len(atoms), **run(method, atoms)}
                with options.out.open("a") as handle:
                    handle.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
