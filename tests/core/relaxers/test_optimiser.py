"""The optimiser on potentials that cost little: minima, limits, terrible starts, invariances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import units
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.evaluation import AseEvaluator
from aiida_fuse2.core.relaxers.optimiser import least_of_cubic, minimise
from aiida_fuse2.core.relaxers.projection import find_projection

from .potentials import Counted, LennardJones, alloy, emt, geometry, limits, random_crystal

POTENTIALS = {"emt": emt, "lennard_jones": LennardJones}


def largest_virial(found, pressure=0.0):
    volume = abs(np.linalg.det(found.cell))
    return np.abs(volume * (found.stress + pressure * np.eye(3))).max() / len(found.positions)


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("pressure", [0.0, 10.0])
def test_ends_without_force_at_the_pressure(potential, pressure):
    pressure *= units.GPa
    evaluator = POTENTIALS[potential]()
    start = alloy(0.2, strain=0.1)
    found = minimise(evaluator, *geometry(start), limits(pressure=pressure))
    assert found.converged
    assert np.linalg.norm(found.forces, axis=1).max() <= 0.01
    assert largest_virial(found, pressure) <= 0.01
    again = evaluator.evaluate(start.numbers, found.positions, found.cell)
    assert again.energy == pytest.approx(found.energy, abs=1e-9)
    assert np.allclose(again.forces, found.forces)


def test_same_minimum_as_ase():
    start = alloy(0.1, strain=0.05)
    found = minimise(emt(), *geometry(start), limits(fmax=1e-3))
    start.calc = EMT()
    BFGS(FrechetCellFilter(start), logfile=None).run(fmax=1e-3, steps=500)
    assert found.energy == pytest.approx(start.get_potential_energy(), abs=1e-4)
    assert abs(np.linalg.det(found.cell)) == pytest.approx(start.get_volume(), rel=1e-3)


def test_one_evaluation_per_geometry():
    counted = Counted(emt())
    found = minimise(counted, *geometry(alloy(0.3, strain=0.1)), limits())
    assert len(counted.asked) == found.evaluations >= found.steps + 1
    assert len({(p.tobytes(), c.tobytes()) for p, c in counted.asked}) == found.evaluations


def test_start_at_a_minimum_takes_no_step():
    first = minimise(emt(), *geometry(alloy()), limits())
    again = minimise(emt(), alloy().numbers, first.positions, first.cell, limits())
    assert (again.steps, again.evaluations) == (0, 1)


@pytest.mark.parametrize("most", [1, 2, 7])
def test_limit_of_evaluations_is_exact(most):
    counted = Counted(emt())
    found = minimise(counted, *geometry(alloy(0.3)), limits(fmax=1e-9, max_evaluations=most))
    assert len(counted.asked) == found.evaluations == most
    assert not found.converged


def test_energy_never_rises():
    energies = []

    def remember(_number, result):
        energies.append(result.energy)
        return result

    found = minimise(
        Counted(emt(), remember), *geometry(random_crystal(3, 20.0)), limits(max_evaluations=40, fmax=1e-9)
    )
    assert found.energy == pytest.approx(min(energies), abs=1e-3)


@settings(max_examples=8)
@given(st.integers(0, 1000), st.sampled_from([4.0, 15.0, 45.0]), st.sampled_from(["emt", "lennard_jones"]))
def test_terrible_starts_converge(seed, volume, potential):
    """Atoms on top of each other, in a third or three times the volume; steps stay within their caps."""
    start = random_crystal(seed, volume)
    start.positions[1] = start.positions[0] + [0.5, 0, 0]
    counted = Counted(POTENTIALS[potential]())
    found = minimise(counted, *geometry(start), limits(fmax=0.05, max_evaluations=1000))
    assert found.converged
    assert np.isfinite(found.energy)
    for (_, before), (_, after) in zip(counted.asked, counted.asked[1:], strict=False):
        strain = np.linalg.solve(before, after) - np.eye(3)
        assert np.abs(strain).max() < 0.14  # from the end of a rejected step to that of the next


def test_steps_are_capped():
    start = random_crystal(1, 6.0)
    counted = Counted(emt())
    minimise(counted, *geometry(start), limits(max_evaluations=2, max_displacement=0.1, relax_cell=False))
    (before, _), (after, _) = counted.asked
    assert np.linalg.norm(after - before, axis=1).max() == pytest.approx(0.1)


def test_fixed_cell_stays():
    start = alloy(0.2)
    found = minimise(emt(), *geometry(start), limits(relax_cell=False, pressure=0.1))
    assert found.converged
    assert np.array_equal(found.cell, start.cell.array)
    assert np.linalg.norm(found.forces, axis=1).max() <= 0.01


def test_nothing_is_changed_and_all_is_repeated():
    start = random_crystal(5, 20.0)
    kept = start.copy()
    first, second = (minimise(emt(), *geometry(start), limits(fmax=0.05)) for _ in range(2))
    assert np.array_equal(start.positions, kept.positions)
    assert np.array_equal(start.cell.array, kept.cell.array)
    assert first.energy == second.energy
    assert np.array_equal(first.positions, second.positions)


# --- bad potentials ---------------------------------------------------------------------------------


def spoilt(when, **values):
    return lambda number, result: replace(result, **values) if when(number) else result


@pytest.mark.parametrize("values", [{"energy": np.nan}, {"energy": -np.inf}, {"forces": np.full((4, 3), np.nan)}])
def test_no_number_at_the_start_is_a_named_failure(values):
    evaluator = Counted(emt(), spoilt(lambda _: True, **values))
    with pytest.raises(RelaxationError) as caught:
        minimise(evaluator, *geometry(alloy()), limits())
    assert caught.value.reason == "energy_not_finite"
    assert len(evaluator.asked) == 1


@pytest.mark.parametrize("values", [{"energy": np.nan}, {"energy": -np.inf}, {"forces": np.full((4, 3), np.nan)}])
def test_no_number_on_the_way_shortens_the_step(values):
    evaluator = Counted(emt(), spoilt(lambda number: number in {2, 5, 6}, **values))
    found = minimise(evaluator, *geometry(alloy(0.2)), limits())
    assert found.converged
    assert np.isfinite(found.energy)


def test_no_number_wherever_it_goes_is_a_named_failure():
    evaluator = Counted(emt(), spoilt(lambda number: number > 4, energy=np.nan))
    with pytest.raises(RelaxationError, match="energy_not_finite"):
        minimise(evaluator, *geometry(alloy(0.3)), limits(fmax=1e-9))
    assert len(evaluator.asked) < 20


def test_wrong_forces_end_at_the_limit():
    rng = np.random.default_rng(0)
    evaluator = Counted(emt(), lambda _number, result: replace(result, forces=rng.normal(size=(4, 3))))
    found = minimise(evaluator, *geometry(alloy()), limits(max_evaluations=60))
    assert (found.converged, found.evaluations) == (False, 60)


def test_noise_of_single_precision_does_not_stop_it():
    rng = np.random.default_rng(0)

    def rounded(_number, result):
        noise = 1e-6 * len(result.forces)
        return replace(result, energy=result.energy + noise * rng.uniform(-1, 1))

    found = minimise(Counted(emt(), rounded), *geometry(alloy(0.2)), limits(fmax=0.005))
    assert found.converged
    assert found.evaluations < 60


# --- invariances ------------------------------------------------------------------------------------


FIRST_STEPS = limits(fmax=1e-9, max_evaluations=20)
"""Rounding grows from step to step, so that courses are compared where they begin."""


def start_of_invariances():
    return random_crystal(11, 22.0)


def same_course(found, other):
    assert other.steps == found.steps
    assert other.energy == pytest.approx(found.energy, abs=1e-6)


def test_translation_changes_nothing():
    start = start_of_invariances()
    found = minimise(LennardJones(), *geometry(start), FIRST_STEPS)
    start.positions += [0.3, -20.0, 7.0]
    same_course(found, minimise(LennardJones(), *geometry(start), FIRST_STEPS))


@pytest.mark.parametrize("mirror", [False, True])
def test_rotation_turns_the_result(mirror):
    start = start_of_invariances()
    found = minimise(LennardJones(), *geometry(start), FIRST_STEPS)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    rotation *= (-1.0 if mirror else 1.0) * np.sign(np.linalg.det(rotation))
    turned = minimise(
        LennardJones(), start.numbers, start.positions @ rotation, start.cell.array @ rotation, FIRST_STEPS
    )
    same_course(found, turned)
    assert np.allclose(found.positions @ rotation, turned.positions, atol=1e-6)


def test_choice_of_the_cell_changes_nothing():
    start = start_of_invariances()
    found = minimise(LennardJones(), *geometry(start), FIRST_STEPS)
    chosen = np.array([[1, 1, 0], [0, 1, 0], [0, -2, 1]])
    same_course(found, minimise(LennardJones(), start.numbers, start.positions, chosen @ start.cell.array, FIRST_STEPS))


def test_order_of_the_atoms_changes_nothing():
    start = start_of_invariances()
    found = minimise(LennardJones(), *geometry(start), FIRST_STEPS)
    same_course(found, minimise(LennardJones(), *geometry(start[::-1]), FIRST_STEPS))


def test_doubled_cell_ends_where_the_cell_does():
    start = alloy(0.15, strain=0.05)
    found = minimise(LennardJones(), *geometry(start), limits())
    doubled = make_supercell(start, np.diag([2, 1, 1]))
    twice = minimise(LennardJones(), *geometry(doubled), limits())
    assert twice.energy / 2 == pytest.approx(found.energy, abs=2e-3)


@pytest.mark.parametrize("project", [False, True])
def test_symmetric_start_stays_symmetric(project):
    """Tetragonal, one free coordinate: nothing else moves."""
    start = bulk("Cu", "fcc", a=4.2, cubic=True) * (1, 1, 2)
    start.numbers[[0, 1]] = 79
    start.positions[start.positions[:, 2] > 3, 2] += 0.2
    projection = find_projection(*geometry(start))
    found = minimise(emt(), *geometry(start), limits(), symmetry=projection if project else None)
    assert found.converged
    final = start.copy()
    final.set_cell(found.cell)
    final.positions = found.positions
    after = find_projection(*geometry(final))
    assert len(after.rotations) >= len(projection.rotations)
    deviation = found.cell - np.diag(np.diag(found.cell))
    assert np.abs(deviation).max() < (1e-12 if project else 1e-8)


def test_broken_forces_do_not_break_a_kept_symmetry():
    start = bulk("Cu", "fcc", a=4.0, cubic=True)
    rng = np.random.default_rng(0)
    noisy = Counted(
        AseEvaluator(EMT(), "emt"),
        lambda _number, r: replace(r, forces=r.forces + 1e-4 * rng.normal(size=(4, 3)), stress=r.stress + 1e-4),
    )
    found = minimise(noisy, *geometry(start), limits(), symmetry=find_projection(*geometry(start)))
    assert np.allclose(found.cell, found.cell[0, 0] * np.eye(3), atol=1e-12)


# --- parts ------------------------------------------------------------------------------------------


@given(st.floats(0.1, 2.0), st.floats(-5, 5), st.floats(-5, -0.1), st.floats(-5, 5))
def test_least_of_a_cubic(length, rise, slope, end_slope):
    found = least_of_cubic(length, rise, slope, end_slope)
    a = (slope + end_slope) / length**2 - 2 * rise / length**3
    b = (3 * rise / length - 2 * slope - end_slope) / length
    if np.isnan(found):
        assert b * b - 3 * a * slope < 1e-9 or (abs(a) < 1e-9 and b <= 0)
        return
    scale = abs(a) * found**2 + abs(b * found) + abs(slope)
    assert slope + 2 * b * found + 3 * a * found**2 == pytest.approx(0, abs=1e-6 * scale)
