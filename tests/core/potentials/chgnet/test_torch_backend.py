"""CHGNet in PyTorch: derivatives, in double precision; devices and names."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_fuse2.core.errors import InputError

from .agreement import MODELS, case, evaluate, stock

torch = pytest.importorskip("torch")
pytest.importorskip("chgnet")

STEP = 1e-7
"""Displacement and strain of numerical derivatives in float64, Å and 1; where atoms clash, the force changes by a
twentieth within 1e-5 Å."""

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


VARIED = ["CoAs2 fgen", "SrTiO3 clash", "tiny SiO2 2.00 Å shear 0.15", "YWB4 skewed 0 left", "NaCl dimer 0.70"]
"""Structures of different kinds, by the beginning of their labels."""


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
