"""Watches a relaxation: refuses what cannot be evaluated, counts evaluations, remembers the last geometry."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.validity import has_sound_cell, isolated_atoms, shortest_contact
from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.evaluation import Evaluation, Evaluator, Geometry, Steps, run_steps
from aiida_fuse2.core.settings import RelaxSettings

from .energies import lowest_trained
from .failures import Failure
from .optimiser import Minimum

CHECKED = 100
"""Number of evaluations after which contacts are looked at again; the mean relaxation takes 83."""


class Watch:
    """Refuses impossible geometries and energies, counts evaluations, and remembers the last geometry."""

    def __init__(self, settings: RelaxSettings, start: Atoms) -> None:
        self.evaluations = 0
        self.last = start
        self._settings = settings

    def evaluated(self, geometry: Geometry) -> Steps[Evaluation]:
        """Evaluate a geometry.

        Raises:
            RelaxationError: if it cannot be evaluated, with a ``Failure`` as its reason.
        """
        numbers, positions, cell = geometry
        self.last = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)
        check_geometry(self.last, self._settings.isolated_distance)
        if self.evaluations and self.evaluations % CHECKED == 0:
            check_contacts(self.last, self._settings.min_contact)  # of five that had fused by then, none came apart
        self.evaluations += 1
        found = yield geometry
        shapes = np.shape(found.forces), np.shape(found.stress)
        if shapes != (positions.shape, (3, 3)):
            raise RelaxationError(Failure.CALCULATOR, f"forces and stress of the shapes {shapes[0]} and {shapes[1]}")
        energy = found.energy / len(numbers)
        lowest, why = lowest_trained(numbers, self.last.get_volume() / len(numbers), self._settings)
        if -np.inf < energy < lowest:  # one that is not finite may be a step too far, which the optimiser shortens
            detail = f"{energy:.6g} eV/atom is below {lowest:.6g}, {why}"
            raise RelaxationError(Failure.ENERGY, detail)
        return found

    def watched(self, steps: Steps[Minimum]) -> Steps[Minimum]:
        """Watch a computation."""
        try:
            geometry = next(steps)
            while True:
                geometry = steps.send((yield from self.evaluated(geometry)))
        except StopIteration as end:
            result: Minimum = end.value
            return result


class WatchedEvaluator:
    """A watched evaluator."""

    def __init__(self, evaluator: Evaluator, watch: Watch) -> None:
        self.name = evaluator.name
        self._evaluator, self._watch = evaluator, watch

    def evaluate(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Evaluation:
        """Return energy, forces and stress; raises what ``Watch.evaluated`` raises."""
        return run_steps(self._watch.evaluated((numbers, positions, cell)), self._evaluator)


def check_geometry(atoms: Atoms, isolated_distance: float) -> None:
    """Refuse a structure that is impossible to evaluate.

    Args:
        atoms: a structure.
        isolated_distance: an atom with no neighbour within this is isolated, Å.

    Raises:
        RelaxationError: ``cell_exploded`` if the cell is flat, gigantic or not finite, ``isolated_atom``.
    """
    if not has_sound_cell(atoms):
        raise RelaxationError(Failure.BAD_CELL)
    isolated = isolated_atoms(atoms, isolated_distance)
    if isolated:
        raise RelaxationError(Failure.ISOLATED, f"atom {isolated[0]}")


def check_contacts(atoms: Atoms, min_contact: float) -> None:
    """Refuse a relaxed structure whose atoms have fused.

    Args:
        atoms: a structure.
        min_contact: smallest distance as a fraction of the covalent radii.

    Raises:
        RelaxationError: ``fused_atoms``.
    """
    contact = shortest_contact(atoms)
    if contact < min_contact:
        raise RelaxationError(Failure.FUSED, f"shortest distance is {contact:.2f} of the covalent radii")
