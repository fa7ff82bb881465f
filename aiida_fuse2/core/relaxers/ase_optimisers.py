"""Optimisers of ASE over an evaluator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from ase import Atoms, optimize, units
from ase.calculators.calculator import Calculator, all_changes
from ase.filters import FrechetCellFilter
from ase.optimize import fire2
from ase.optimize.optimize import Optimizer
from ase.stress import full_3x3_to_voigt_6_stress

from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.evaluation import Evaluator
from aiida_fuse2.core.settings import RelaxSettings

from .failures import Failure

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "FIRE": optimize.FIRE,
    "FIRE2": fire2.FIRE2,
    "LBFGS": optimize.LBFGS,
    "BFGS": optimize.BFGS,
    "BFGSLineSearch": optimize.BFGSLineSearch,
}
"""Optimisers of ASE by the names of ``RelaxSettings.optimizer``."""


class EvaluatorCalculator(Calculator):
    """An evaluator as a calculator of ASE, which keeps the last result.

    Args:
        evaluator: the potential.
        needs_stress: whether the cell is relaxed.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]

    def __init__(self, evaluator: Evaluator, *, needs_stress: bool = True) -> None:
        super().__init__()
        self.evaluator = evaluator
        self.needs_stress = needs_stress

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate; ASE asks only if the geometry has changed.

        Raises:
            RelaxationError: ``energy_not_finite``, or what the evaluator raises.
        """
        super().calculate(atoms, properties, system_changes)
        found = self.evaluator.evaluate(self.atoms.numbers, self.atoms.positions, self.atoms.cell.array)
        needed = (np.array(found.energy), found.forces, *([found.stress] if self.needs_stress else []))
        if not all(np.isfinite(values).all() for values in needed):
            raise RelaxationError(Failure.NOT_FINITE)  # these optimisers would continue with it
        stress = full_3x3_to_voigt_6_stress(found.stress)
        self.results: dict[str, Any] = {"energy": found.energy, "forces": found.forces, "stress": stress}


def ase_steps(atoms: Atoms, settings: RelaxSettings) -> Iterator[bool]:
    """Relax in place with an optimiser of ASE; yield after each step whether it has converged.

    Args:
        atoms: structure with a calculator.
        settings: settings of the tier; ``fmax`` limits the largest row of the filter's forces.
    """
    target: Atoms | FrechetCellFilter = atoms
    if settings.relax_cell:
        target = FrechetCellFilter(atoms, scalar_pressure=settings.pressure * units.GPa)
    optimizer = OPTIMIZERS[settings.optimizer](target, logfile=None, maxstep=settings.max_step_length)
    for converged in optimizer.irun(fmax=settings.fmax, steps=settings.max_steps):
        yield bool(converged)
