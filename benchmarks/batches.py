"""Structures that CHGNet evaluates per second: one by one with the native kernel and PyTorch, and many at once.

    python benchmarks/batches.py
    python benchmarks/batches.py --device cuda

Crystals of 8, 24 and 48 atoms are evaluated again and again for some seconds each, with one thread; energy,
forces and stress each time. CPU seconds on the CPU, wall seconds on a GPU, where the CPU waits.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import partial

from ase import Atoms
from ase.build import bulk

from aiida_fuse2.benchmarks.starts import MODEL, NATIVE, TORCH, evaluator
from aiida_fuse2.core.potentials.chgnet.torch_backend import PreparedCrystal, TorchChgnet
from aiida_fuse2.core.potentials.evaluation import Evaluator
from aiida_fuse2.worker.batches import CPU_BYTES

CELLS = {8: (1, 1, 1), 24: (1, 1, 3), 48: (2, 1, 3)}
"""How often the cubic cell of MgO, of 8 atoms, is repeated, by the number of atoms of a structure."""

COUNT = 4
"""Different structures of each size."""

SEED = 1

FILLED = 3
"""Batches that are filled between two looks at the clock, at least."""


def structures(n_atoms: int) -> list[Atoms]:
    """Return crystals of this size whose atoms are displaced at random, by 0.05 Å in each direction."""
    made = [bulk("MgO", "rocksalt", a=4.21, cubic=True).repeat(CELLS[n_atoms]) for _ in range(COUNT)]
    for number, atoms in enumerate(made):
        atoms.rattle(0.05, seed=SEED + number)
    return made


def prepared(model: TorchChgnet, atoms: Atoms) -> PreparedCrystal:
    """Return a structure with its graph."""
    return model.prepare(atoms.numbers, atoms.positions, atoms.cell.array)


def enough(model: TorchChgnet, made: list[Atoms], limit: float) -> list[Atoms]:
    """Return all structures again and again, as many as fill some batches."""
    used = sum(prepared(model, atoms).n_bytes for atoms in made)
    return made * math.ceil(FILLED * limit / used)


def singly(potential: Evaluator, made: list[Atoms]) -> int:
    """Evaluate structures one by one."""
    for atoms in made:
        potential.evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
    return len(made)


def together(model: TorchChgnet, made: list[Atoms], limit: float) -> int:
    """Evaluate structures in batches."""
    batch: list[PreparedCrystal] = []
    for atoms in made:
        one = prepared(model, atoms)
        if batch and sum(other.n_bytes for other in batch) + one.n_bytes > limit:
            model.evaluate_prepared(batch)
            batch = []
        batch.append(one)
    model.evaluate_prepared(batch)
    return len(made)


def per_second(run: Callable[[], int], seconds: float, clock: Callable[[], float]) -> float:
    """Return how many structures are evaluated per second.

    Args:
        run: evaluates some, and returns how many.
        seconds: how long to measure.
        clock: CPU or wall time, s.
    """
    run()
    done, started = 0, clock()
    while clock() - started < seconds:
        done += run()
    return done / (clock() - started)


def main() -> None:
    """Measure and print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--seconds", type=float, default=4.0, help="time of each measurement")
    parser.add_argument("--gigabytes", type=float, help="memory of a batch, by default 0.1 on the CPU, 4 on a GPU")
    options = parser.parse_args()
    limit = options.gigabytes * 1e9 if options.gigabytes else (CPU_BYTES if options.device == "cpu" else 4e9)
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    native, model = evaluator(NATIVE), TorchChgnet(MODEL, device=options.device)
    for n_atoms in CELLS:
        made = structures(n_atoms)

        tasks: dict[str, Callable[[], int]] = {
            NATIVE: partial(singly, native, made),
            TORCH: partial(singly, model, made),
            "batches": partial(together, model, enough(model, made, limit), limit),
        }
        clocks = {NATIVE: time.process_time}
        row = {name: per_second(run, options.seconds, clocks.get(name, clock)) for name, run in tasks.items()}
        megabytes = round(sum(prepared(model, atoms).n_bytes for atoms in made) / len(made) / 1e6)
        shown = {name: float(f"{value:.3g}") for name, value in row.items()}
        print(json.dumps({"atoms": n_atoms, **shown, "megabytes": megabytes}), flush=True)


if __name__ == "__main__":
    main()
