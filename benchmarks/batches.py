"""Structures that CHGNet evaluates per second: one by one with the native kernel and PyTorch, and many at once.

    python benchmarks/batches.py
    python benchmarks/batches.py --device cuda

Random structures of 8, 24 and 50 atoms are evaluated again and again for some seconds each, with one thread; energy,
forces and stress each time. CPU seconds on the CPU, wall seconds on a GPU, where the CPU waits.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

from ase import Atoms

from aiida_fuse2.benchmarks.starts import MODEL, NATIVE, TORCH, evaluator, make_starts
from aiida_fuse2.core.potentials.chgnet.torch_backend import PreparedCrystal, TorchChgnet
from aiida_fuse2.core.potentials.evaluation import Evaluator
from aiida_fuse2.worker.batches import CPU_BYTES

COMPOSITIONS = {8: "CaTi2O5", 24: "Ca3Ti2O7", 50: "Si6Al6B3Fe3NaO30F"}
"""Formula by the number of atoms of a structure."""

COUNT = 4
"""Different structures of each size."""

SEED = 1


def structures(n_atoms: int) -> list[Atoms]:
    """Return random structures of this size."""
    made = make_starts(COMPOSITIONS[n_atoms], n_atoms, "fgen", seed=SEED, count=10 * COUNT)
    return [atoms for atoms in made if len(atoms) == n_atoms][:COUNT]


def prepared(model: TorchChgnet, made: list[Atoms], limit: float) -> list[PreparedCrystal]:
    """Return as many structures, repeated, as fit into a batch; the making of their graphs counts."""
    chosen: list[PreparedCrystal] = []
    used = 0.0
    while True:
        atoms = made[len(chosen) % len(made)]
        one = model.prepare(atoms.numbers, atoms.positions, atoms.cell.array)
        used += one.bytes
        if chosen and used > limit:
            return chosen
        chosen.append(one)


def singly(potential: Evaluator, made: list[Atoms]) -> int:
    """Evaluate structures one by one."""
    for atoms in made:
        potential.evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
    return len(made)


def together(model: TorchChgnet, made: list[Atoms], limit: float) -> int:
    """Evaluate a batch."""
    return len(model.evaluate_prepared(prepared(model, made, limit)))


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
    parser.add_argument("--gigabytes", type=float, help="memory of a batch, by default 0.05 on the CPU, 4 on a GPU")
    options = parser.parse_args()
    limit = options.gigabytes * 1e9 if options.gigabytes else (CPU_BYTES if options.device == "cpu" else 4e9)
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    native, model = evaluator(NATIVE), TorchChgnet(MODEL, device=options.device)
    for n_atoms in COMPOSITIONS:
        made = structures(n_atoms)

        tasks: dict[str, Callable[[], int]] = {
            NATIVE: partial(singly, native, made),
            TORCH: partial(singly, model, made),
            "batches": partial(together, model, made, limit),
        }
        clocks = {NATIVE: time.process_time}
        row = {name: per_second(run, options.seconds, clocks.get(name, clock)) for name, run in tasks.items()}
        shown = {name: float(f"{value:.3g}") for name, value in row.items()}
        print(json.dumps({"atoms": n_atoms, **shown, "in_a_batch": len(prepared(model, made, limit))}), flush=True)


if __name__ == "__main__":
    main()
