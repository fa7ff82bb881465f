"""Tests of what ends a relaxation before its time."""

import numpy as np
import pytest
from ase import Atoms

from aiida_fuse2.core.potentials.evaluation import Evaluation
from aiida_fuse2.core.relaxers import relax
from aiida_fuse2.core.relaxers.watch import CHECKED


class Drifting:
    """A potential that moves all atoms along, downhill and without an end."""

    name = "drifting"

    def __init__(self):
        self.energy = 0.0

    def evaluate(self, numbers, positions, cell):  # noqa: ARG002 - as the potentials have it
        self.energy -= 0.1
        return Evaluation(
            energy=self.energy, forces=np.tile([1.0, 0.0, 0.0], (len(numbers), 1)), stress=np.zeros((3, 3))
        )


@pytest.mark.parametrize(
    ("distance", "status", "evaluations"), [(1.0, "fused_atoms", CHECKED), (2.0, "step_limit", 350)]
)
def test_fused_atoms_end_a_long_relaxation(relax_settings, distance, status, evaluations):
    """Two atoms of TiO2 that CHGNet let fuse took 1486 evaluations, 38 of the 100 CPU s of a search."""
    pair = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, distance]], cell=[3, 3, 4], pbc=True)
    tier = relax_settings(calculator="ase.calculators.emt.EMT", max_steps=350)
    found = relax(pair, Drifting(), tier)
    assert (found.status, found.values["evaluations"]) == (status, evaluations)
