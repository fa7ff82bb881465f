"""What an optimiser asks of a potential: energy, forces and stress of one structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Energy and its derivatives at one geometry.

    Attributes:
        energy: of the cell, eV.
        forces: minus the derivative by the positions, eV/Å, shape (n, 3).
        stress: derivative of the energy by the strain over the volume, eV/Å³, shape (3, 3), symmetric;
            negative where the crystal wants to expand, as in ASE.
    """

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]


class Evaluator(Protocol):
    """A potential that is loaded once and evaluated many times."""

    @property
    def name(self) -> str:
        """Which potential and which code computes it, e.g. ``chgnet 0.3.0 native x86-64-v4``."""

    def evaluate(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Evaluation:
        """Return energy, forces and stress.

        Args:
            numbers: atomic numbers, shape (n,).
            positions: Cartesian, Å, shape (n, 3); need not lie in the cell.
            cell: lattice vectors as rows, Å, shape (3, 3), periodic in all directions.

        Raises:
            RelaxationError: where the potential cannot handle the geometry, with the reason.
        """


class AseEvaluator:
    """Any ASE calculator as an evaluator."""

    def __init__(self, calculator: Calculator, name: str) -> None:
        self.calculator = calculator
        self.name = name

    def evaluate(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Evaluation:
        """Return energy, forces and stress; zero stress where the calculator knows none."""
        atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)
        properties = ["energy", "forces"]
        if "stress" in self.calculator.implemented_properties:
            properties.append("stress")
        self.calculator.calculate(atoms, properties, list(all_changes))
        results: dict[str, Any] = self.calculator.results
        stress = np.zeros((3, 3))
        if "stress" in results:
            stress = np.asarray(results["stress"], dtype=float)
            stress = voigt_6_to_full_3x3_stress(stress) if stress.ndim == 1 else stress
        return Evaluation(float(results["energy"]), np.array(results["forces"], dtype=float), stress)
