"""Optimisers of ASE by their names in the settings."""

from __future__ import annotations

from collections.abc import Iterator

from ase import Atoms, optimize, units
from ase.filters import FrechetCellFilter
from ase.optimize import fire2
from ase.optimize.optimize import Optimizer

from aiida_fuse2.core.settings import RelaxSettings

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "FIRE": optimize.FIRE,
    "FIRE2": fire2.FIRE2,
    "LBFGS": optimize.LBFGS,
    "BFGS": optimize.BFGS,
    "BFGSLineSearch": optimize.BFGSLineSearch,
}
"""Optimisers of ASE by the names of ``RelaxSettings.optimizer``."""


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
