"""Cheap potentials for tests of optimisers."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from matscipy.neighbours import neighbour_list

from aiida_fuse2.core.potentials.evaluation import AseEvaluator, Evaluation
from aiida_fuse2.core.relaxers.optimiser import Limits


class Counted:
    """An evaluator that counts, remembers its geometries, and may spoil its answers.

    ``spoil`` takes the number of the evaluation, from 1, and its result.
    """

    def __init__(self, inner, spoil=lambda _number, result: result):
        self.inner = inner
        self.name = inner.name
        self.spoil = spoil
        self.asked = []

    def evaluate(self, numbers, positions, cell):
        self.asked.append((positions.copy(), cell.copy()))
        return self.spoil(len(self.asked), self.inner.evaluate(numbers, positions, cell))


class LennardJones:
    """Lennard-Jones atoms with the force and the energy shifted to zero at the cutoff; ε = 1 eV, σ = 2.5 Å."""

    name = "Lennard-Jones"
    cutoff = 6.0

    def evaluate(self, _numbers, positions, cell):
        i, r, vectors = neighbour_list("idD", positions=positions, cell=cell, cutoff=self.cutoff, pbc=[True] * 3)
        value, slope = self._pair(r)
        end, end_slope = self._pair(np.array([self.cutoff]))
        value = value - end - end_slope * (r - self.cutoff)
        pulls = ((slope - end_slope) / r)[:, None] * vectors
        forces = np.zeros_like(positions)
        np.add.at(forces, i, pulls)
        stress = 0.5 * vectors.T @ pulls / abs(np.linalg.det(cell))
        return Evaluation(0.5 * float(value.sum()), forces, stress)

    @staticmethod
    def _pair(r):
        sixth = (2.5 / r) ** 6
        return 4.0 * (sixth**2 - sixth), -24.0 * (2.0 * sixth**2 - sixth) / r


def emt():
    return AseEvaluator(EMT(), "emt")


def limits(**changes):
    values = {
        "fmax": 0.01,
        "max_evaluations": 500,
        "max_displacement": 0.25,
        "max_strain": 0.06,
        "pressure": 0.0,
        "relax_cell": True,
    }
    return Limits(**{**values, **changes})


def geometry(atoms):
    return atoms.numbers, atoms.positions, atoms.cell.array


def alloy(shift=0.1, seed=0, strain=0.0):
    """Cu3Au, rattled and strained."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=3.8, cubic=True)
    atoms.numbers[0] = 79
    atoms.rattle(shift, rng=rng)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain * rng.uniform(-1, 1, (3, 3))), scale_atoms=True)
    return atoms


def random_crystal(seed, volume_per_atom, n=8, symbols="Cu5Au3"):
    """Atoms anywhere in a skewed cell."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(
        symbols, scaled_positions=rng.random((n, 3)), cell=np.eye(3) + rng.uniform(-0.3, 0.3, (3, 3)), pbc=True
    )
    atoms.set_cell(atoms.cell.array * (n * volume_per_atom / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    return atoms
