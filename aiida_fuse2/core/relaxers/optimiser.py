"""Relaxes atoms and cell together with few evaluations: L-BFGS over displacements and strain.

A step moves the atoms by d and then deforms the crystal by 1 + e, e symmetric. Both are measured from the
current crystal, so that no step depends on the choice of the cell, its orientation or its origin. The strain is
scaled by a length that grows with the square root of the number of atoms: with it the curvature along strain,
which is a bulk modulus times the volume, is about that along displacements. The energy decides whether a step
is taken; a step that raises the energy is shortened. There is one evaluation per step, and none is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.evaluation import Evaluation, Evaluator, Geometry, Steps, run_steps

from .curvature import N_STRAIN_ROWS, CurvatureMemory
from .failures import Failure
from .projection import SymmetryProjection

INITIAL_CURVATURE = 20.0
"""Curvature along every direction before the first step, eV/Å²: that of bonds of moderate stiffness."""

MEMORY = 30
"""Number of steps that are remembered."""

STRAIN_LENGTH = 1.0
"""Length that a strain of 1 counts as in a crystal of one atom, Å."""

NOISE = 1e-5
"""Rise of the energy that counts as noise, eV/atom: single precision resolves a hundredth of a meV."""

LEAST_DESCENT = 1e-4
"""Smallest cosine between a step and minus the gradient; below it the memory is useless."""

SHORTENING = (0.1, 0.5)
"""Smallest and largest factor by which a step that raised the energy is shortened."""

SHORTEST_STEP = 1e-3
"""Fraction of a step below which it is not shortened further."""


@dataclass(frozen=True)
class Limits:
    """What ends a relaxation, and how long a step may be.

    Attributes:
        fmax: a relaxation has converged when no force is longer, and no principal value, and hence no component,
            of (stress + pressure) times volume per atom larger; eV/Å, and eV per atom for a strain of 1.
        max_evaluations: number of evaluations after which it ends in any case.
        max_displacement: longest displacement of an atom in a step, Å.
        max_strain: largest elongation, along any direction, in a step.
        pressure: external pressure, eV/Å³.
        relax_cell: whether the cell is relaxed too.
    """

    fmax: float
    max_evaluations: int
    max_displacement: float
    max_strain: float
    pressure: float
    relax_cell: bool


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where a relaxation ended.

    Attributes:
        positions: Cartesian, Å, shape (n, 3); not wrapped into the cell.
        cell: lattice vectors as rows, Å, shape (3, 3).
        energy: potential energy of the cell, eV.
        forces: eV/Å, shape (n, 3).
        stress: eV/Å³, shape (3, 3); minus the pressure if converged.
        steps: number of steps.
        evaluations: number of evaluations of the potential.
        converged: whether ``Limits.fmax`` was reached.
    """

    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]
    steps: int
    evaluations: int
    converged: bool


@dataclass(frozen=True, eq=False)
class _Point:
    """A geometry with its enthalpy (eV) and its gradient in the joint space (eV/Å, shape (n + 3, 3))."""

    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    evaluation: Evaluation
    enthalpy: float
    gradient: NDArray[np.float64]
    residual: float

    @property
    def is_finite(self) -> bool:
        """Whether the potential gave numbers."""
        return bool(np.isfinite(self.enthalpy + self.residual))


class _Surface:
    """The enthalpy of one crystal over its geometries, with a count of the evaluations."""

    def __init__(
        self,
        numbers: NDArray[np.int64],
        limits: Limits,
        symmetry: SymmetryProjection | None,
    ) -> None:
        self.evaluations = 0
        self.strain_length = STRAIN_LENGTH * float(np.sqrt(len(numbers)))
        self._numbers = numbers
        self._limits = limits
        self._symmetry = symmetry

    @property
    def is_exhausted(self) -> bool:
        """Whether all evaluations are used up."""
        return self.evaluations >= self._limits.max_evaluations

    def point(self, positions: NDArray[np.float64], cell: NDArray[np.float64]) -> Steps[_Point]:
        """Evaluate a geometry."""
        self.evaluations += 1
        evaluation = yield self._numbers, positions, cell
        forces, stress = evaluation.forces, evaluation.stress
        if self._symmetry is not None:
            forces, stress = self._symmetry.forces(forces), self._symmetry.stress(stress)
        volume = abs(float(np.linalg.det(cell)))
        virial = np.zeros((3, 3))
        if self._limits.relax_cell:
            virial = volume * (stress + self._limits.pressure * np.eye(3))
        return _Point(
            positions=positions,
            cell=cell,
            evaluation=evaluation,
            enthalpy=evaluation.energy + self._limits.pressure * volume,
            gradient=np.concatenate([-forces, virial / self.strain_length]),
            residual=_residual(forces, virial),
        )

    def moved(self, start: _Point, step: NDArray[np.float64]) -> Steps[_Point]:
        """Evaluate the geometry at the end of a step."""
        deformation = np.eye(3) + step[-N_STRAIN_ROWS:] / self.strain_length
        positions = (start.positions + step[:-N_STRAIN_ROWS]) @ deformation
        return (yield from self.point(positions, start.cell @ deformation))


def _residual(forces: NDArray[np.float64], virial: NDArray[np.float64]) -> float:
    """Return the value that ``Limits.fmax`` limits: longest force or largest principal value of the virial per atom."""
    return float(np.maximum(_longest(forces), _largest_principal(virial) / len(forces)))  # NaN stays NaN


def _longest(vectors: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)).max())


def _largest_principal(tensor: NDArray[np.float64]) -> float:
    """Return the largest absolute eigenvalue of a symmetric tensor; NaN if it is not finite."""
    return float(np.abs(np.linalg.eigvalsh(tensor)).max()) if np.isfinite(tensor).all() else float("nan")


def _downhill(memory: CurvatureMemory, gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quasi-Newton step; the memory is cleared if the step does not lead downhill."""
    step = memory.newton_step(gradient)
    descent = -float(np.vdot(step, gradient))
    if descent > LEAST_DESCENT * float(np.linalg.norm(step) * np.linalg.norm(gradient)):
        return step
    memory.clear()
    return memory.newton_step(gradient)


def _capped(step: NDArray[np.float64], strain_length: float, limits: Limits) -> NDArray[np.float64]:
    """Return a step, shortened as a whole to the limits."""
    displacement = _longest(step[:-N_STRAIN_ROWS]) / limits.max_displacement
    strain = _largest_principal(step[-N_STRAIN_ROWS:]) / strain_length / limits.max_strain
    return step / max(1.0, displacement, strain)


def _shorter(fraction: float, start: _Point, end: _Point, step: NDArray[np.float64]) -> float:
    """Return the fraction of a step to try after the energy rose: the minimum of a cubic.

    Args:
        fraction: fraction of the step that was tried.
        start: point at the beginning of the step.
        end: point at the end of that fraction.
        step: the whole step, shape (n + 3, 3).
    """
    guess = least_of_cubic(
        fraction,
        end.enthalpy - start.enthalpy,
        float(np.vdot(start.gradient, step)),
        float(np.vdot(end.gradient, step)),
    )
    least, largest = (factor * fraction for factor in SHORTENING)
    return min(max(guess, least), largest) if np.isfinite(guess) else least


def least_of_cubic(length: float, rise: float, slope: float, end_slope: float) -> float:
    """Return the position of the minimum of a cubic, NaN if it has none.

    Nocedal and Wright, Numerical Optimization, 2nd ed. 2006, equation 3.59.

    Args:
        length: the cubic is given between 0 and this.
        rise: its value there less its value at 0.
        slope: its derivative at 0.
        end_slope: its derivative at ``length``.
    """
    middle = slope + end_slope - 3.0 * rise / length
    discriminant = middle**2 - slope * end_slope
    if not discriminant >= 0:
        return float("nan")
    root = float(np.sqrt(discriminant))
    denominator = end_slope - slope + 2.0 * root
    return length * (1.0 - (end_slope + root - middle) / denominator) if denominator else float("nan")


def _line_search(
    surface: _Surface, start: _Point, step: NDArray[np.float64], limits: Limits
) -> Steps[tuple[_Point, float] | None]:
    """Take a step, shortened until the energy does not rise.

    Returns:
        The point and the fraction of the step that led to it; None if the evaluations are used up.

    Raises:
        RelaxationError: ``energy_not_finite`` if even the shortest step gives no number.
    """
    allowed = start.enthalpy + NOISE * len(start.positions)
    fraction = 1.0
    while not surface.is_exhausted:
        point = yield from surface.moved(start, fraction * step)
        if point.is_finite and (point.enthalpy <= allowed or point.residual <= limits.fmax):
            return point, fraction
        if fraction < SHORTEST_STEP:
            _require_finite(point, surface)
            return point, fraction
        fraction = _shorter(fraction, start, point, step)
    return None


def _require_finite(point: _Point, surface: _Surface) -> None:
    if not point.is_finite:
        raise RelaxationError(Failure.NOT_FINITE, f"after {surface.evaluations} evaluations")


def minimise(
    evaluator: Evaluator,
    numbers: NDArray[np.int64],
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    limits: Limits,
    *,
    symmetry: SymmetryProjection | None = None,
) -> Minimum:
    """Relax a crystal to a minimum of the enthalpy.

    Only the arguments decide the result: evaluations are limited, not time.

    Args:
        evaluator: the potential.
        numbers: atomic numbers, shape (n,).
        positions: Cartesian, Å, shape (n, 3); not changed.
        cell: lattice vectors as rows, Å, shape (3, 3); not changed.
        limits: convergence, evaluations, step lengths, pressure.
        symmetry: operations that forces and stress are projected on.

    Raises:
        RelaxationError: ``energy_not_finite``, or what the evaluator raises.
    """
    return run_steps(minimisation((numbers, positions, cell), limits, symmetry), evaluator)


def minimisation(start: Geometry, limits: Limits, symmetry: SymmetryProjection | None) -> Steps[Minimum]:
    """Relax a crystal as ``minimise`` does, without a potential of its own.

    Args:
        start: not changed.
        limits: convergence, evaluations, step lengths, pressure.
        symmetry: operations that forces and stress are projected on.

    Raises:
        RelaxationError: ``energy_not_finite``, or what is thrown in place of an evaluation.
    """
    numbers, positions, cell = start
    surface = _Surface(numbers, limits, symmetry)
    memory = CurvatureMemory(len(numbers), MEMORY, INITIAL_CURVATURE)
    point = yield from surface.point(np.array(positions, dtype=float), np.array(cell, dtype=float))
    _require_finite(point, surface)
    steps = 0
    while point.residual > limits.fmax:
        step = _capped(_downhill(memory, point.gradient), surface.strain_length, limits)
        found = yield from _line_search(surface, point, step, limits)
        if found is None:
            break
        end, fraction = found
        memory.add(fraction * step, end.gradient - point.gradient)
        point = end
        steps += 1
    return Minimum(
        positions=point.positions,
        cell=point.cell,
        energy=point.evaluation.energy,
        forces=point.evaluation.forces,
        stress=point.evaluation.stress,
        steps=steps,
        evaluations=surface.evaluations,
        converged=point.residual <= limits.fmax,
    )
