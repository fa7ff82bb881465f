"""CHGNet in PyTorch: agreement with stock, derivatives, invariances, failures."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from aiida_fuse2.core.errors import InputError, RelaxationError

from .agreement import (
    MODELS,
    all_cases,
    assert_agreement,
    deviation,
    other_lattice_vectors,
    quick_cases,
    stock,
    tolerance,
)

torch = pytest.importorskip("torch")
pytest.importorskip("chgnet")

STEP = 1e-6
"""Displacement and strain of numerical derivatives in float64, Å and 1; where atoms clash, the force changes by a
fiftieth within 1e-4 Å."""

NUMERICAL_TOLERANCE = 1e-5
"""Of numerical derivatives, relative to the largest one."""


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return request.param


@pytest.fixture(scope="module")
def evaluator(model):
    return evaluator_of(model, "float32")


@pytest.fixture(scope="module")
def exact(model):
    return evaluator_of(model, "float64")


def evaluator_of(model, dtype):
    from aiida_fuse2.core.potentials.chgnet.torch_backend import TorchChgnet

    return TorchChgnet(model, dtype=dtype)


def evaluate(evaluator, atoms):
    return evaluator.evaluate(atoms.numbers, atoms.positions, atoms.cell.array)


def case(beginning):
    return next(case.atoms for case in quick_cases() if case.label.startswith(beginning))


VARIED = ["CoAs2 fgen", "SrTiO3 clash", "tiny SiO2 2.00 Å shear 0.15", "YWB4 skewed 0 left", "NaCl dimer 0.70"]
"""Structures of different kinds, by the beginning of their labels."""


def test_agrees_with_stock(evaluator, model):
    assert_agreement(evaluator, model, quick_cases())


@pytest.mark.slow
def test_agrees_with_stock_over_many_structures(evaluator, model):
    assert_agreement(evaluator, model, all_cases())


def test_is_the_same_function_as_stock_in_float64(exact, model):
    for beginning in VARIED:
        atoms = case(beginning)
        found, expected = evaluate(exact, atoms), evaluate(stock(model, "float64"), atoms)
        # stock takes the composition in float32
        assert found.energy == pytest.approx(expected.energy, abs=1e-6 * len(atoms))
        largest = max(1.0, np.abs(expected.forces).max())
        assert np.allclose(found.forces, expected.forces, rtol=0, atol=1e-9 * largest)
        assert np.allclose(found.stress, expected.stress, rtol=0, atol=1e-9 * largest)


def test_forces_are_minus_the_derivative_of_the_energy(exact):
    rng = np.random.default_rng(3)
    for beginning in VARIED:
        atoms = case(beginning)
        forces = evaluate(exact, atoms).forces
        direction = rng.normal(size=forces.shape)
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions += sign * STEP * direction
            energies.append(evaluate(exact, moved).energy)
        numerical = (energies[1] - energies[0]) / (2 * STEP)
        scale = np.linalg.norm(forces) * np.linalg.norm(direction) + 1
        assert np.sum(forces * direction) == pytest.approx(numerical, abs=NUMERICAL_TOLERANCE * scale)


def test_stress_is_the_derivative_by_the_strain(exact):
    rng = np.random.default_rng(4)
    for beginning in VARIED:
        atoms = case(beginning)
        found = evaluate(exact, atoms).stress
        assert np.array_equal(found, found.T)
        strain = rng.normal(size=(3, 3))
        energies = []
        for sign in (1, -1):
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + sign * STEP * strain), scale_atoms=True)
            energies.append(evaluate(exact, strained).energy)
        numerical = (energies[0] - energies[1]) / (2 * STEP) / atoms.get_volume()
        scale = np.linalg.norm(found) * np.linalg.norm(strain) + 1 / atoms.get_volume()
        assert np.sum(found * strain) == pytest.approx(numerical, abs=NUMERICAL_TOLERANCE * scale)


def same(found, expected):
    return deviation(found, expected).over(tolerance(expected)).largest < 1


def test_translation_changes_nothing(evaluator):
    atoms = case("Li3Si3O5Cl5 fgen")
    expected = evaluate(evaluator, atoms)
    assert np.abs(expected.forces.sum(axis=0)).max() < 1e-9
    moved = atoms.copy()
    moved.positions += [1.234, -2.5, 40.0]
    moved.positions[::3] += 2 * atoms.cell.array[0] - 3 * atoms.cell.array[2]
    assert same(evaluate(evaluator, moved), expected)


def test_permutation_permutes_the_forces(evaluator):
    atoms = case("Li3Si3O5Cl5 fgen")
    expected = evaluate(evaluator, atoms)
    order = np.random.default_rng(0).permutation(len(atoms))
    found = evaluate(evaluator, atoms[order])
    forces = np.empty_like(found.forces)
    forces[order] = found.forces
    assert same(type(found)(found.energy, forces, found.stress), expected)


@pytest.mark.parametrize("left_handed", [False, True])
def test_lattice_vectors_do_not_matter(evaluator, left_handed):
    atoms = case("SrTiO3 fgen")
    rng = np.random.default_rng(1)
    for _ in range(3):
        other = other_lattice_vectors(atoms, rng, left_handed=left_handed)
        assert same(evaluate(evaluator, other), evaluate(evaluator, atoms))


def test_supercell_has_the_energy_of_its_cells(evaluator):
    atoms = case("CoAs2 fgen")
    single, double = evaluate(evaluator, atoms), evaluate(evaluator, atoms.repeat((1, 2, 1)))
    assert double.energy == pytest.approx(2 * single.energy, abs=1e-4)
    assert np.allclose(double.forces[: len(atoms)], single.forces, atol=2e-3)
    assert np.allclose(double.stress, single.stress, atol=1e-5)


def test_result_does_not_depend_on_what_came_before(evaluator):
    atoms = case("SrTiO3 fgen")
    first = evaluate(evaluator, atoms)
    evaluate(evaluator, case("Mn fgen"))
    second = evaluate(evaluator, atoms)
    assert first.energy == second.energy
    assert np.array_equal(first.forces, second.forces)
    assert np.array_equal(first.stress, second.stress)


def test_input_is_not_changed(evaluator):
    atoms = case("SrTiO3 fgen")
    before = atoms.copy()
    evaluate(evaluator, atoms)
    assert atoms == before


def test_structure_without_angles(evaluator, model):
    apart = Atoms("Xe2", positions=[[0, 0, 0], [4.0, 0, 0]], cell=[30.0] * 3, pbc=True)
    assert same(evaluate(evaluator, apart), evaluate(stock(model), apart))


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (Atoms("Xe", cell=[12.0] * 3, pbc=True), "isolated_atom"),
        (Atoms("O2", positions=np.zeros((2, 3)), cell=[3.0] * 3, pbc=True), "energy_not_finite"),
        (Atoms("O", cell=[3.0, 3.0, 0.0], pbc=True), "cell_exploded"),
        (Atoms("Am", cell=[3.0] * 3, pbc=True), "unknown_element"),
        (Atoms("XO", positions=[[0, 0, 0], [1.5, 0, 0]], cell=[3.0] * 3, pbc=True), "unknown_element"),
    ],
)
def test_geometries_that_cannot_be_handled(evaluator, atoms, reason):
    with pytest.raises(RelaxationError) as caught:
        evaluate(evaluator, atoms)
    assert caught.value.reason == reason


def test_denormal_numbers_are_kept_elsewhere(evaluator):
    evaluate(evaluator, case("Mn fgen"))
    assert float(torch.tensor([1e-40]) * 1.0) > 0


def test_name_threads_and_devices(evaluator, model):
    assert evaluator.name == f"chgnet {model} torch"
    assert torch.get_num_threads() == 1
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA device"):
            type(evaluator)(model, device="cuda")


def test_unknown_model_is_named(evaluator):
    with pytest.raises(InputError, match="must be one of"):
        type(evaluator)("0.1.0")
