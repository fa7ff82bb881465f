"""The interface between an optimiser and a potential: energy, forces and stress of one structure."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from aiida_fuse2.core.errors import RelaxationError

NO_STRESS = "no_stress"
"""Reason of a failure: the cell is to be relaxed, but the calculator gives no stress."""

ATOMS_CHANGED = "calculator_changed_atoms"
"""Reason of a failure: energy and forces belong to another structure."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Energy and its derivatives at one geometry.

    Attributes:
        energy: of the cell, eV.
        forces: minus the derivative by the positions, eV/Å, shape (n, 3).
        stress: derivative of the energy by the strain over the volume, eV/Å³, shape (3, 3), symmetric;
            negative if the crystal tends to expand, as in ASE.
        moments: magnetic moments of the atoms without their signs, μB, shape (n,); None if the potential has none.
    """

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]
    moments: NDArray[np.float64] | None = None


class Evaluator(Protocol):
    """A potential that is loaded once and evaluated many times."""

    @property
    def name(self) -> str:
        """Name of the potential and of the code that computes it, e.g. ``chgnet 0.3.0 native x86-64-v4``."""

    def evaluate(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Evaluation:
        """Return energy, forces and stress.

        Args:
            numbers: atomic numbers, shape (n,).
            positions: Cartesian, Å, shape (n, 3); need not lie in the cell.
            cell: lattice vectors as rows, Å, shape (3, 3), periodic in all directions.

        Raises:
            RelaxationError: if the potential cannot handle the geometry, with the reason.
        """


class Prepared(Protocol):
    """A structure that can be evaluated beside others."""

    @property
    def n_bytes(self) -> float:
        """Memory that its evaluation takes, bytes."""


Structure = TypeVar("Structure", bound=Prepared)


class BatchEvaluator(Evaluator, Protocol[Structure]):
    """A potential that evaluates many structures at once."""

    def prepare(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Structure:
        """Return a structure in the form in which it is evaluated; arguments and errors are those of ``evaluate``."""

    def evaluate_prepared(self, structures: Sequence[Structure]) -> list[Evaluation | RelaxationError]:
        """Return for each structure its energy, forces and stress, or why it has none.

        They are those of ``evaluate`` except for rounding, whatever the other structures are.

        Args:
            structures: from ``prepare``; at least one.
        """


Geometry = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""Atomic numbers, positions and cell, as ``Evaluator.evaluate`` takes them."""

Result = TypeVar("Result")

Steps = Generator[Geometry, Evaluation, Result]
"""A computation that yields each geometry which it needs evaluated, is sent its evaluation, and returns a result."""


def run_steps(steps: Steps[Result], evaluator: Evaluator) -> Result:
    """Return the result of a computation; what the evaluator raises is raised in the computation."""
    try:
        geometry = next(steps)
        while True:
            try:
                found = evaluator.evaluate(*geometry)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - any calculator's failure
                geometry = steps.throw(error)
            else:
                geometry = steps.send(found)
    except StopIteration as end:
        result: Result = end.value
        return result


class AseEvaluator:
    """Any ASE calculator as an evaluator.

    Args:
        calculator: any calculator; its results are checked.
        name: see ``Evaluator.name``.
        needs_stress: whether the cell is to be relaxed.
    """

    def __init__(self, calculator: Calculator, name: str, *, needs_stress: bool = False) -> None:
        self.calculator = calculator
        self.name = name
        self.needs_stress = needs_stress

    def evaluate(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Evaluation:
        """Return energy, forces and stress; zero stress if the calculator has none and none is needed.

        Raises:
            RelaxationError: ``no_stress``, ``calculator_changed_atoms``.
        """
        atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)
        properties = ["energy", "forces"]
        if "stress" in self.calculator.implemented_properties:
            properties.append("stress")
        self.calculator.results = {}  # results of the last geometry are not valid for this one
        self.calculator.calculate(atoms, properties, list(all_changes))
        if _is_changed(atoms, numbers, positions, cell):
            raise RelaxationError(ATOMS_CHANGED, f"{self.name} changes the structure that it is given")
        results: dict[str, Any] = self.calculator.results
        forces = np.array(results["forces"], dtype=float)
        stress = np.zeros((3, 3))
        if results.get("stress") is not None:
            stress = np.array(results["stress"], dtype=float)  # a copy: the calculator may write into its own again
            stress = voigt_6_to_full_3x3_stress(stress) if stress.ndim == 1 else stress
        if self.needs_stress and not stress.any() and (results.get("stress") is None or forces.any()):
            raise RelaxationError(NO_STRESS, f"{self.name} gives no stress, and the cell is to be relaxed")
        magnetic = np.abs(np.array(results.get("magmoms", ()), dtype=float))
        moments = magnetic if magnetic.shape == (len(numbers),) else None
        return Evaluation(float(results["energy"]), forces, stress, moments)


def _is_changed(
    atoms: Atoms, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
) -> bool:
    """Return whether a structure was changed."""
    pairs = ((atoms.numbers, numbers), (atoms.positions, positions), (atoms.cell.array, cell))
    return not (atoms.pbc.all() and all(np.array_equal(now, before) for now, before in pairs))
