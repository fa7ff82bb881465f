"""The interface between an optimiser and a potential: energy, forces and stress of one structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

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
    """

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]


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


@runtime_checkable
class MagneticEvaluator(Protocol):
    """A potential that also gives magnetic moments."""

    def moments(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """Return the magnetic moment of each atom, Bohr magnetons, shape (n,); None if this potential has none.

        A potential without spins gives magnitudes: how the moments are ordered does not follow from them.

        Args:
            numbers: as for ``Evaluator.evaluate``.
            positions: as for ``Evaluator.evaluate``.
            cell: as for ``Evaluator.evaluate``.

        Raises:
            RelaxationError: as ``Evaluator.evaluate``.
        """


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
        properties = ["energy", "forces"]
        if "stress" in self.calculator.implemented_properties:
            properties.append("stress")
        results = self._results(numbers, positions, cell, properties)
        forces = np.array(results["forces"], dtype=float)
        stress = np.zeros((3, 3))
        if results.get("stress") is not None:
            stress = np.array(results["stress"], dtype=float)  # a copy: the calculator may write into its own again
            stress = voigt_6_to_full_3x3_stress(stress) if stress.ndim == 1 else stress
        if self.needs_stress and not stress.any() and (results.get("stress") is None or forces.any()):
            raise RelaxationError(NO_STRESS, f"{self.name} gives no stress, and the cell is to be relaxed")
        return Evaluation(float(results["energy"]), forces, stress)

    def moments(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """Return the magnetic moments, as ``MagneticEvaluator`` says; None if the calculator computes none.

        Raises:
            RelaxationError: ``calculator_changed_atoms``.
        """
        if "magmoms" not in self.calculator.implemented_properties:
            return None
        found = self._results(numbers, positions, cell, ["energy", "magmoms"]).get("magmoms")
        return None if found is None else np.array(found, dtype=float).reshape(len(numbers))

    def _results(
        self,
        numbers: NDArray[np.int64],
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        properties: list[str],
    ) -> dict[str, Any]:
        atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)
        self.calculator.results = {}  # results of the last geometry are not valid for this one
        self.calculator.calculate(atoms, properties, list(all_changes))
        if _is_changed(atoms, numbers, positions, cell):
            raise RelaxationError(ATOMS_CHANGED, f"{self.name} changes the structure that it is given")
        results: dict[str, Any] = self.calculator.results
        return results


def _is_changed(
    atoms: Atoms, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
) -> bool:
    """Return whether a structure was changed."""
    pairs = ((atoms.numbers, numbers), (atoms.positions, positions), (atoms.cell.array, cell))
    return not (atoms.pbc.all() and all(np.array_equal(now, before) for now, before in pairs))
