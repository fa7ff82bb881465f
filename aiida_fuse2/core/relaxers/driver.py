"""Relaxes one structure, atoms and cell together: the optimiser, and the values that are kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.symmetry import space_group
from aiida_fuse2.core.crystal.uniqueness import encode_fingerprint, fingerprint
from aiida_fuse2.core.crystal.validity import is_one_crystal
from aiida_fuse2.core.errors import RelaxationError, error_text, is_out_of_memory
from aiida_fuse2.core.potentials.calculators import EvaluatorCalculator
from aiida_fuse2.core.potentials.evaluation import Evaluator, Steps, run_steps
from aiida_fuse2.core.settings import CHGNET, JOINT_LBFGS, RelaxSettings

from .energies import check_energy
from .failures import CONVERGED, Failure
from .optimiser import Limits, Minimum, minimisation
from .projection import find_projection
from .watch import Watch, WatchedEvaluator, check_contacts, check_geometry

DESCRIBED = (
    "energy",
    "n_atoms",
    "volume",
    "spacegroup",
    "spacegroup_loose",
    "spacegroup_symbol",
    "spacegroup_symbol_loose",
)
"""Values of a relaxed structure that tables of structures show."""

UNBOUND = 0.2
"""Energy above which a structure is not bound, eV/atom: energies of CHGNet are near 0 for separate atoms, and its error
is a tenth of this on structures like its training data."""

VOLUME_UNDER_PRESSURE = 60.0
"""Largest volume per atom that a pressure can remove, Å³: that of solid xenon. The work on it raises the energy."""

MAX_DETAIL = 300
"""Longest text kept of a calculator's error, characters."""


@dataclass(frozen=True, eq=False)
class RelaxedStructure:
    """The result of relaxing a structure.

    Attributes:
        status: ``converged`` or the reason of the failure.
        detail: text for people, empty if converged.
        atoms: last geometry, without calculator.
        values: plain values: energy and enthalpy (eV/atom), volume (Å³), atoms, space groups at the
            two tolerances, steps, largest force (eV/Å); also after a failure: name of the potential,
            evaluations of it, CPU seconds.
        fingerprint: shape (36,), or None if it failed.
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


def _minimisation(atoms: Atoms, settings: RelaxSettings) -> Steps[Minimum]:
    """Relax with the optimiser of this package."""
    limits = Limits(
        fmax=settings.fmax,
        max_evaluations=settings.max_steps,
        max_displacement=settings.max_step_length,
        max_strain=settings.max_step_strain,
        pressure=settings.pressure * units.GPa,
        relax_cell=settings.relax_cell,
    )
    geometry = atoms.numbers, atoms.positions, atoms.cell.array
    return minimisation(geometry, limits, find_projection(*geometry) if settings.keep_symmetry else None)


def _minimise_with_ase(atoms: Atoms, evaluator: Evaluator, settings: RelaxSettings) -> Minimum:
    """Relax with an optimiser of ASE.

    Raises:
        RelaxationError: ``energy_not_finite``.
    """
    from .ase_optimisers import ase_steps  # costs a tenth of a second

    working = atoms.copy()
    working.calc = EvaluatorCalculator(evaluator, needs_stress=settings.relax_cell)
    converged, steps = False, 0
    for steps, converged in enumerate(ase_steps(working, settings)):  # the start is the first  # noqa: B007
        if not np.isfinite(working.get_potential_energy()):
            raise RelaxationError(Failure.NOT_FINITE, f"after {steps} steps")
    return Minimum(
        positions=working.positions,
        cell=working.cell.array,
        energy=float(working.get_potential_energy()),
        forces=working.get_forces(),
        stress=working.get_stress(voigt=False),
        steps=steps,
        evaluations=0,
        converged=converged,
    )


def _space_groups(atoms: Atoms, symprecs: tuple[float, float]) -> dict[str, Any]:
    """Return space groups at the tight and the loose tolerance; 1 if spglib finds none."""
    (number, symbol), (loose_number, loose_symbol) = (space_group(atoms, symprec) for symprec in symprecs)
    return {
        "spacegroup": number,
        "spacegroup_loose": loose_number,
        "spacegroup_symbol": symbol,
        "spacegroup_symbol_loose": loose_symbol,
    }


def describe(atoms: Atoms, energy: float, pressure: float, symprecs: tuple[float, float]) -> dict[str, Any]:
    """Return the plain values of a relaxed structure.

    Args:
        atoms: relaxed structure.
        energy: potential energy of the cell, eV.
        pressure: external pressure, GPa.
        symprecs: tight and loose tolerance for the space groups, Å.

    Returns:
        ``energy`` is the enthalpy per atom if there is a pressure: the value that searches compare.
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


def _final(atoms: Atoms, found: Minimum, settings: RelaxSettings) -> Atoms:
    """Return the relaxed structure.

    Raises:
        RelaxationError: ``step_limit`` if it has not converged, ``fused_atoms``, ``isolated_parts``, ``unbound``.
    """
    if not found.converged:
        raise RelaxationError(Failure.STEP_LIMIT, f"not converged in {settings.max_steps} steps")
    final = Atoms(numbers=atoms.numbers, positions=found.positions, cell=found.cell, pbc=True)
    check_contacts(final, settings.min_contact)
    check_connected(final, settings.isolated_distance)
    check_bound(found.energy / len(final), settings)
    return final


def check_bound(energy: float, settings: RelaxSettings) -> None:
    """Refuse a structure that CHGNet puts above separate atoms.

    Args:
        energy: potential energy, eV/atom.
        settings: settings of the tier; potentials other than CHGNet have another zero of energy.

    Raises:
        RelaxationError: ``unbound``.
    """
    limit = UNBOUND + max(settings.pressure, 0.0) * units.GPa * VOLUME_UNDER_PRESSURE
    if settings.calculator == CHGNET and energy > limit:
        raise RelaxationError(Failure.UNBOUND, f"{energy:+.2f} eV/atom, above separate atoms")


def check_connected(atoms: Atoms, isolated_distance: float) -> None:
    """Refuse a relaxed structure of molecules, chains or layers that are too far apart to feel each other.

    Args:
        atoms: a structure.
        isolated_distance: largest distance between neighbouring parts, Å.

    Raises:
        RelaxationError: ``isolated_parts``.
    """
    if not is_one_crystal(atoms, isolated_distance):
        raise RelaxationError(Failure.APART, f"parts of it are more than {isolated_distance:g} Å apart")


def _calculator_error(error: BaseException) -> str:
    """Return the text that is kept from an error of a calculator.

    Raises:
        MemoryError: if it is a lack of memory, which says nothing about the structure.
    """
    if is_out_of_memory(error):
        raise MemoryError(error_text(error, MAX_DETAIL)) from error
    return error_text(error, MAX_DETAIL)


def relax(atoms: Atoms, evaluator: Evaluator, settings: RelaxSettings) -> RelaxedStructure:
    """Relax one structure; a failure is an outcome with a name, never an exception.

    Only the structure and the settings decide the result: evaluations are limited, not time.

    Args:
        atoms: the structure; not changed.
        evaluator: from ``make_evaluator``.
        settings: of the tier.

    Raises:
        MemoryError: if memory is lacking.
    """
    started = time.process_time()
    found = run_steps(relaxation(atoms, evaluator, settings), evaluator)
    found.values["cpu_seconds"] = round(time.process_time() - started, 4)
    return found


def relaxation(atoms: Atoms, evaluator: Evaluator, settings: RelaxSettings) -> Steps[RelaxedStructure]:
    """Relax one structure as ``relax`` does, except that the geometries are evaluated by others.

    Optimisers of ASE cannot be interrupted and use the evaluator themselves.

    Args:
        atoms: the structure; not changed.
        evaluator: from ``make_evaluator``.
        settings: of the tier.

    Returns:
        The result, without the CPU seconds.

    Raises:
        MemoryError: if memory is lacking.
    """
    start = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    watch = Watch(settings, start)
    status, detail, vector = CONVERGED, "", None
    values: dict[str, Any] = {"potential": evaluator.name}
    try:
        check_geometry(start, settings.isolated_distance)
        if settings.optimizer == JOINT_LBFGS:
            found = yield from watch.watched(_minimisation(start, settings))
        else:
            found = _minimise_with_ase(start, WatchedEvaluator(evaluator, watch), settings)
        final = _final(start, found, settings)
        check_energy(found.energy / len(final), final.numbers, settings.calculator)
        values |= describe(final, found.energy, settings.pressure, settings.report_symprec)
        values |= {"steps": found.steps, "fmax": float(np.linalg.norm(found.forces, axis=1).max())}
        vector = fingerprint(final)
    except RelaxationError as error:
        status, detail, final = error.reason, error.detail, watch.last
    except (Exception, SystemExit) as error:  # noqa: BLE001 - any calculator's failure ends this structure, not the batch
        status, detail, final = Failure.CALCULATOR, _calculator_error(error), watch.last
    values["evaluations"] = watch.evaluations
    if status == CONVERGED:
        final.wrap()
    return RelaxedStructure(str(status), detail, final, values, vector)


def potential_energy(atoms: Atoms, evaluator: Evaluator, settings: RelaxSettings) -> float:
    """Return the energy of a structure as it is, eV.

    Args:
        atoms: the structure, without a calculator; not changed.
        evaluator: from ``make_evaluator``.
        settings: settings of the tier, of which pressure and shortest distances matter.

    Raises:
        RelaxationError: if the structure or the energy is not plausible.
        MemoryError: if memory is lacking.
    """
    try:
        geometry = atoms.numbers, atoms.positions, atoms.cell.array
        found = run_steps(Watch(settings, atoms).evaluated(geometry), evaluator)
    except RelaxationError:
        raise
    except (Exception, SystemExit) as error:  # any calculator's failure ends this structure, not the batch
        raise RelaxationError(Failure.CALCULATOR, _calculator_error(error)) from error
    if not np.isfinite(found.forces).all():
        raise RelaxationError(Failure.NOT_FINITE, "forces")
    check_energy(found.energy / len(atoms), atoms.numbers, settings.calculator)
    check_contacts(atoms, settings.min_contact)
    check_bound(found.energy / len(atoms), settings)
    return float(found.energy)


def single_point(atoms: Atoms, evaluator: Evaluator, settings: RelaxSettings) -> RelaxedStructure:
    """Compute the energy of a structure as it is; a failure is an outcome with a name, never an exception.

    Args:
        atoms: the structure; not changed.
        evaluator: from ``make_evaluator``.
        settings: settings of the tier, of which pressure and shortest distances matter.

    Raises:
        MemoryError: if memory is lacking.
    """
    started = time.process_time()
    start = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    status, detail = CONVERGED, ""
    values: dict[str, Any] = {"potential": evaluator.name}
    try:
        energy = potential_energy(start, evaluator, settings)
        values |= describe(start, energy, settings.pressure, settings.report_symprec)
    except RelaxationError as error:
        status, detail = error.reason, error.detail
    values["cpu_seconds"] = round(time.process_time() - started, 4)
    return RelaxedStructure(str(status), detail, start, values, None)
