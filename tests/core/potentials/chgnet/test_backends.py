"""Each way to compute CHGNet: agreement with stock, invariances, failures."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.chgnet.build import NEEDED, BuildError, InstructionSet, find_compiler, processor_flags

from .agreement import (
    COMPOSITIONS,
    MODELS,
    all_cases,
    assert_agreement,
    case,
    deviation,
    evaluate,
    other_lattice_vectors,
    quick_cases,
    some_cases,
    stock,
    tolerance,
)

pytest.importorskip("torch")
pytest.importorskip("chgnet")

TORCH = "torch"
DEFAULT_MODEL = "0.3.0"

KINDS = ("clash", "dimer", "tiny", "left-handed", "right-handed", "rattled")
"""Parts of the labels of structures that are not generated only."""


def why_not(backend):
    """Return why a backend cannot be tried here, or None."""
    if backend == TORCH:
        return None
    if not NEEDED[backend] <= processor_flags():
        return f"the processor has no {backend}"
    try:
        find_compiler()
    except BuildError as error:
        return str(error)
    return None


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return request.param


@pytest.fixture(scope="module", params=[TORCH, *InstructionSet])
def evaluator(request, model):
    reason = why_not(request.param)
    if reason:
        pytest.skip(reason)
    if request.param == TORCH:
        from aiida_fuse2.core.potentials.chgnet.torch_backend import TorchChgnet

        return TorchChgnet(model)
    from aiida_fuse2.core.potentials.chgnet.native_backend import NativeChgnet

    return NativeChgnet(model, instruction_set=request.param)


def test_agrees_with_stock(evaluator, model):
    """The default model over a few structures of each kind, the other over some of these."""
    assert_agreement(evaluator, model, quick_cases() if model == DEFAULT_MODEL else quick_cases()[::4])


@pytest.mark.slow
def test_agrees_with_stock_over_many_structures(evaluator, model):
    """Torch takes much longer than the others, and is compared over some of each kind."""
    cases = some_cases() if evaluator.name.endswith(TORCH) else all_cases()
    assert_agreement(evaluator, model, cases)


def test_some_structures_are_of_every_kind():
    labels = [case.label for case in some_cases()]
    beginnings = [f"{formula} {name} " for formula in COMPOSITIONS for name in ("fgen", "symmetric")]
    assert all(any(label.startswith(beginning) for label in labels) for beginning in beginnings)
    assert all(any(kind in label for label in labels) for kind in KINDS)


def same(found, expected):
    return deviation(found, expected).over(tolerance(expected)).largest < 1


@pytest.mark.parametrize("beginning", ["Mn fgen", "CoAs2 fgen", "Si6Al6B3Fe3NaO30F fgen", "SrTiO3 fgen"])
def test_moments_are_those_of_stock(evaluator, model, beginning):
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms = case(beginning)
    expected = stock(model).model.predict_structure(AseAtomsAdaptor.get_structure(atoms), task="em")["m"]
    found = evaluator.moments(atoms.numbers, atoms.positions, atoms.cell.array)
    assert found == pytest.approx(np.asarray(expected, dtype=float).reshape(-1), abs=1e-4, rel=1e-4)
    assert found.min() >= 0
    assert found.max() > 0.5 or not beginning.startswith("Mn")


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
