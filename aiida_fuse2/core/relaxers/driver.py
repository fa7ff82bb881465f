"""Relaxes one structure, atoms and cell together, with an optimiser of ASE."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from ase import Atoms, optimize, units
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.optimize import fire2
from ase.optimize.optimize import Optimizer
from numpy.typing import NDArray

from aiida_fuse2.core.decision import CONVERGED
from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.settings import RelaxSettings
from aiida_fuse2.core.symmetry import Symmetry, SymmetryError, find_symmetry
from aiida_fuse2.core.uniqueness import encode_fingerprint, fingerprint
from aiida_fuse2.core.validity import has_sound_cell, isolated_atoms, shortest_contact

MAX_DETAIL = 300
"""Longest text kept of a calculator's error, characters."""


class Failure(StrEnum):
    """Why a relaxation gave no energy that may be used."""

    ISOLATED = "isolated_atom"
    BAD_CELL = "cell_exploded"
    NOT_FINITE = "energy_not_finite"
    STEP_LIMIT = "step_limit"
    FUSED = "fused_atoms"
    CALCULATOR = "calculator_error"


@dataclass(frozen=True, eq=False)
class RelaxedStructure:
    """What relaxing a structure gave.

    Attributes:
        status: ``converged`` or the reason of the failure.
        detail: for people, empty where converged.
        atoms: last geometry, without calculator.
        values: plain values: energy and enthalpy (eV/atom), volume (Å³), atoms, space groups at the
            two tolerances, number of rotations, steps, evaluations, largest force (eV/Å), CPU seconds.
        fingerprint: shape (36,), or None where it failed.
    """

    status: str
    detail: str
    atoms: Atoms
    values: dict[str, Any]
    fingerprint: NDArray[np.float64] | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without the geometry."""
        vector = None if self.fingerprint is None else encode_fingerprint(self.fingerprint)
        return {"status": self.status, "detail": self.detail, **self.values, "fingerprint": vector}


_OPTIMIZERS: dict[str, type[Optimizer]] = {
    "FIRE": optimize.FIRE,
    "FIRE2": fire2.FIRE2,
    "LBFGS": optimize.LBFGS,
    "BFGS": optimize.BFGS,
    "BFGSLineSearch": optimize.BFGSLineSearch,
}


def _optimizer(target: Atoms | FrechetCellFilter, settings: RelaxSettings) -> Optimizer:
    kind = _OPTIMIZERS[settings.optimizer]
    return kind(target, logfile=None, maxstep=settings.max_step_length)


def _count_evaluations(calculator: Calculator) -> list[int]:
    """Count the calculator's evaluations from now on; the list's only element is the count."""
    counter = [0]
    original = type(calculator).calculate

    def calculate(*args: Any, **kwargs: Any) -> None:
        counter[0] += 1
        original(calculator, *args, **kwargs)

    calculator.calculate = calculate
    return counter


def _geometry_problem(atoms: Atoms, settings: RelaxSettings) -> Failure | None:
    """Return what makes a geometry impossible to evaluate: flat, gigantic, not finite, an isolated atom."""
    if not has_sound_cell(atoms):
        return Failure.BAD_CELL
    return Failure.ISOLATED if isolated_atoms(atoms, settings.isolated_distance) else None


def _check_geometry(atoms: Atoms, settings: RelaxSettings) -> None:
    problem = _geometry_problem(atoms, settings)
    if problem is not None:
        raise RelaxationError(problem, "during the relaxation")


def _optimise(atoms: Atoms, settings: RelaxSettings) -> int:
    """Relax in place and return the number of steps.

    Raises:
        RelaxationError: with a ``Failure`` as its reason.
    """
    _check_geometry(atoms, settings)
    pressure = settings.pressure * units.GPa
    target = FrechetCellFilter(atoms, scalar_pressure=pressure) if settings.relax_cell else atoms
    optimizer = _optimizer(target, settings)
    converged = False
    for is_converged in optimizer.irun(fmax=settings.fmax, steps=settings.max_steps):
        converged = bool(is_converged)
        if not np.isfinite(atoms.get_potential_energy()):
            raise RelaxationError(Failure.NOT_FINITE, f"after {optimizer.nsteps} steps")
        _check_geometry(atoms, settings)
    if not converged:
        raise RelaxationError(Failure.STEP_LIMIT, f"not converged in {settings.max_steps} steps")
    contact = shortest_contact(atoms)
    if contact < settings.min_contact:
        raise RelaxationError(Failure.FUSED, f"shortest distance is {contact:.2f} of the covalent radii")
    return int(optimizer.nsteps)


def _space_groups(atoms: Atoms, symprecs: tuple[float, float]) -> dict[str, Any]:
    """Return space groups at the tight and the loose tolerance; 1 where spglib finds none."""
    found: list[Symmetry | None] = []
    for symprec in symprecs:
        try:
            found.append(find_symmetry(atoms, symprec))
        except SymmetryError:
            found.append(None)
    numbers = [1 if s is None else s.number for s in found]
    symbols = ["P1" if s is None else s.symbol for s in found]
    return {
        "spacegroup": numbers[0],
        "spacegroup_loose": numbers[1],
        "spacegroup_symbol": symbols[0],
        "spacegroup_symbol_loose": symbols[1],
    }


def describe(atoms: Atoms, energy: float, pressure: float, symprecs: tuple[float, float]) -> dict[str, Any]:
    """Return the plain values of a relaxed structure.

    Args:
        atoms: relaxed structure.
        energy: potential energy of the cell, eV.
        pressure: external pressure, GPa.
        symprecs: tight and loose tolerance for the space groups, Å.

    Returns:
        ``energy`` is the enthalpy per atom where there is a pressure: what searches compare.
    """
    volume = float(atoms.get_volume())
    enthalpy = energy + pressure * units.GPa * volume
    return {
        "energy": enthalpy / len(atoms),
        "potential_energy": energy / len(atoms),
        "n_atoms": len(atoms),
        "volume": volume,
        **_space_groups(atoms, symprecs),
    }


def relax(atoms: Atoms, calculator: Calculator, settings: RelaxSettings) -> RelaxedStructure:
    """Relax one structure; a failure is an outcome with a name, never an exception.

    Nothing but the structure and the settings decides the result: evaluations are limited, not time.

    Args:
        atoms: the structure; not changed.
        calculator: from ``make_calculator``.
        settings: of the tier.
    """
    working = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    started = time.process_time()
    calculator.reset()
    counter = _count_evaluations(calculator)
    working.calc = calculator
    status, detail, values, vector = CONVERGED, "", {}, None
    try:
        steps = _optimise(working, settings)
        energy = float(working.get_potential_energy())
        values = describe(working, energy, settings.pressure, settings.report_symprec)
        values |= {"steps": steps, "fmax": float(np.linalg.norm(working.get_forces(), axis=1).max())}
        vector = fingerprint(working)
    except RelaxationError as error:
        status, detail = error.reason, error.detail
    except Exception as error:  # noqa: BLE001 - any calculator's failure ends this structure, not the batch
        status = _geometry_problem(working, settings) or Failure.CALCULATOR
        detail = f"{type(error).__name__}: {error}"[:MAX_DETAIL]
    finally:
        del calculator.calculate
    values |= {"evaluations": counter[0], "cpu_seconds": round(time.process_time() - started, 4)}
    final = Atoms(numbers=working.numbers, positions=working.positions, cell=working.cell, pbc=True)
    if status == CONVERGED:
        final.wrap()
    return RelaxedStructure(str(status), detail, final, values, vector)
