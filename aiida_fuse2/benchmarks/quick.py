"""The CPU time of an evaluation on this machine, for a few numbers of atoms: what estimates of searches need."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms

from aiida_fuse2.core.potentials.evaluation import Evaluator

CUBIC = 3.905
"""Lattice constant of the cubic perovskite SrTiO3, Å."""

UNIT = 5
"""Atoms of its cell."""

DISPLACEMENT = 0.05
"""Standard deviation of the displacements of its atoms, Å."""

WARM_UP = 2
"""Evaluations that are not measured."""


def cells(n_atoms: int) -> Atoms:
    """Return SrTiO3 in cells side by side.

    Args:
        n_atoms: number of atoms, a multiple of five.
    """
    places = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    cell = Atoms("SrTiO3", scaled_positions=places, cell=[CUBIC] * 3, pbc=True)
    count = n_atoms // UNIT
    repeats = [1, 1, 1]
    while count > 1:  # as near to a cube as its factors allow
        factor = next(f for f in range(2, count + 1) if count % f == 0)
        repeats[int(np.argmin(repeats))] *= factor
        count //= factor
    return cell.repeat(repeats)


def measure(
    evaluator: Evaluator,
    sizes: Sequence[int],
    seconds: float,
    rng: np.random.Generator,
    *,
    clock: Callable[[], float] = time.process_time,
    make: Callable[[int], Atoms] = cells,
) -> dict[int, float]:
    """Return the CPU time of an evaluation, s, by number of atoms.

    Args:
        evaluator: potential.
        sizes: numbers of atoms.
        seconds: CPU time of the measurement of each size, s; a last evaluation may go beyond it.
        rng: makes the displacements, new ones for each evaluation.
        clock: returns the CPU time of this process, s.
        make: returns the crystal with a number of atoms.
    """
    table = {}
    for size in sizes:
        atoms = make(size)
        numbers, cell = atoms.numbers, atoms.cell.array
        geometries = atoms.positions + rng.normal(0, DISPLACEMENT, (16, *atoms.positions.shape))
        for positions in geometries[:WARM_UP]:
            evaluator.evaluate(numbers, positions, cell)
        begin, count = clock(), 0
        while count == 0 or clock() - begin < seconds:
            evaluator.evaluate(numbers, geometries[count % len(geometries)], cell)
            count += 1
        table[size] = (clock() - begin) / count
    return table
