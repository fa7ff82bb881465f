"""The potentials as calculators of ASE: numbers, copies, repeated calls, errors, and no need of AiiDA."""

import copy
import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.stress import full_3x3_to_voigt_6_stress

from aiida_fuse2.core.errors import InputError, RelaxationError
from aiida_fuse2.core.potentials.calculators import ChgnetCalculator, EvaluatorCalculator, PairCalculator
from aiida_fuse2.core.potentials.chgnet.weights import MODEL_FILES, package_folder
from aiida_fuse2.core.potentials.pair import PairEvaluator, read_library

from .chgnet.agreement import stock
from .megnet.models import needs_tensorflow, run_apart, trained
from .pair.libraries import crystal, mixed_text

BACKENDS = ("native", "torch")

WITHOUT_AIIDA = """
import json, sys
for name in ("aiida", "plumpy", "kiwipy"):
    sys.modules[name] = None  # importing it is an error
from ase.build import bulk
from aiida_fuse2.core.potentials.calculators import ChgnetCalculator
atoms = bulk("NaCl", "rocksalt", a=5.69)
atoms.calc = ChgnetCalculator(backend=sys.argv[1])
print(json.dumps([atoms.get_potential_energy(), "torch" in sys.modules]))
"""

MEGNET = """
import copy, json, pickle, sys
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.calculators import MegnetCalculator
calculator = MegnetCalculator(sys.argv[1])
atoms = bulk("NaCl", "rocksalt", a=5.69)
atoms.calc = calculator
once = atoms.get_potential_energy()
twice = atoms.repeat((2, 1, 1))
twice.calc = pickle.loads(pickle.dumps(calculator))
wrong = []
for atoms_of, kind in ((twice, "forces"), (bulk("Xe"), "energy"), (Atoms("Na", cell=[20] * 3, pbc=True), "energy")):
    atoms_of.calc = calculator
    try:
        calculator.get_property(kind, atoms_of)
    except (PropertyNotImplementedError, RelaxationError) as error:
        wrong.append(str(error))
twice.calc = copy.deepcopy(calculator)
print(json.dumps([once, twice.get_potential_energy(), wrong]))
"""


@pytest.fixture
def salt():
    atoms = bulk("NiO", "rocksalt", a=4.3)
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.fixture(params=BACKENDS)
def calculator(request):
    pytest.importorskip("chgnet")
    return ChgnetCalculator("0.3.0", backend=request.param)


def count_evaluations(calculator):
    """Count the evaluations of a calculator from now on."""
    inner, counted = calculator.evaluator.evaluate, []

    def evaluate(*geometry):
        counted.append(geometry)
        return inner(*geometry)

    calculator.evaluator.evaluate = evaluate
    return counted


def test_numbers_are_those_of_the_published_package(calculator, salt):
    expected = stock("0.3.0").evaluate(salt.numbers, salt.positions, salt.cell.array)
    salt.calc = calculator
    assert salt.get_potential_energy() == pytest.approx(expected.energy, abs=2e-5)
    assert salt.get_potential_energy(force_consistent=True) == salt.get_potential_energy()
    assert salt.get_forces() == pytest.approx(expected.forces, abs=1e-3)
    assert salt.get_stress() == pytest.approx(full_3x3_to_voigt_6_stress(expected.stress), abs=1e-3 * units.GPa)
    moments = salt.get_magnetic_moments()
    assert moments == pytest.approx(expected.moments, abs=1e-4)
    assert moments[0] > 1 > moments[1]  # that of nickel in its oxide
    with pytest.raises(PropertyNotImplementedError):
        salt.get_dipole_moment()


def test_stress_is_the_derivative_of_the_energy(calculator, salt):
    salt.calc = calculator
    stress = salt.get_stress()
    for index, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for size in (-2e-3, 2e-3):
            strain = np.eye(3)
            strain[i, j] += size / 2
            strain[j, i] += size / 2
            strained = salt.copy()
            strained.set_cell(salt.cell.array @ strain, scale_atoms=True)
            strained.calc = calculator
            energies.append(strained.get_potential_energy())
        slope = (energies[1] - energies[0]) / 4e-3 / salt.get_volume()
        assert slope == pytest.approx(stress[index], abs=2e-3)


def test_is_asked_again_only_if_the_geometry_has_changed(salt):
    calculator = ChgnetCalculator()
    counted = count_evaluations(calculator)
    salt.calc = calculator
    forces = salt.get_forces()
    salt.get_potential_energy()
    salt.get_stress()
    salt.get_magnetic_moments()
    salt.set_initial_magnetic_moments([2.0, 0.0])
    assert (salt.get_forces() == forces).all()
    calculator.calculate(salt, ["energy", "forces"], [])
    assert len(counted) == 1
    salt.positions[0, 0] += 0.01
    assert not np.allclose(salt.get_forces(), forces)
    assert len(counted) == 2
    calculator.calculate(salt, ["energy"], list(all_changes))
    assert len(counted) == 3
    other = salt.copy()
    other.set_cell(salt.cell.array * 1.01)
    other.calc = calculator
    other.get_potential_energy()
    assert len(counted) == 4
    salt.get_potential_energy()  # another structure in between
    assert len(counted) == 5


def test_displacements_of_a_supercell_load_nothing_anew(salt, monkeypatch):
    """What phonopy does: the same calculator for copies of a supercell."""
    calculator = ChgnetCalculator()
    monkeypatch.setattr(ChgnetCalculator, "_load", lambda _: pytest.fail("was loaded again"))
    counted = count_evaluations(calculator)
    supercell = salt.repeat((2, 2, 2))
    found = []
    for axis in range(3):
        displaced = supercell.copy()
        displaced.positions[0, axis] += 0.01
        displaced.calc = calculator
        found.append(displaced.get_forces())
    assert len(counted) == 3
    assert all(forces.shape == (16, 3) and np.abs(forces.sum(axis=0)).max() < 1e-4 for forces in found)


def test_optimiser_of_ase(calculator, salt):
    salt.calc = calculator
    before = salt.get_potential_energy()
    assert BFGS(FrechetCellFilter(salt), logfile=None).run(fmax=0.02, steps=100)
    assert salt.get_potential_energy() < before - 0.05
    assert np.abs(salt.get_forces()).max() < 0.02


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])  # noqa: S301
def test_copies_compute_the_same_by_themselves(calculator, salt, duplicate):
    salt.calc = calculator
    energy, forces = salt.get_potential_energy(), salt.get_forces()
    other = duplicate(calculator)
    assert other.evaluator is not calculator.evaluator
    assert other.results["energy"] == energy
    again = salt.copy()
    again.calc = other
    counted = count_evaluations(other)
    assert again.get_potential_energy() == energy
    assert not counted  # the copy knows the result
    other.reset()
    assert again.get_potential_energy() == pytest.approx(energy, abs=1e-6)
    assert again.get_forces() == pytest.approx(forces, abs=1e-5)
    again.positions[0, 0] += 0.1
    again.get_potential_energy()
    assert calculator.results["energy"] == energy


def test_copies_in_threads_do_not_disturb_each_other(salt):
    calculator = ChgnetCalculator()

    def energies(seed):
        atoms = salt.repeat((2, 1, 1))
        atoms.rattle(0.05, seed=seed)
        atoms.calc = copy.deepcopy(calculator)
        found = []
        for _ in range(10):
            atoms.calc.reset()
            found.append(atoms.get_potential_energy())
        return found

    expected = [energies(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(energies, range(4))) == expected


def test_weights_of_a_file(salt):
    pytest.importorskip("chgnet")
    for model, name in MODEL_FILES.items():
        path = package_folder() / name
        named, read = salt.copy(), salt.copy()
        named.calc, read.calc = ChgnetCalculator(model), ChgnetCalculator(path)
        assert read.get_potential_energy() == named.get_potential_energy()
        assert path.name in read.calc.evaluator.name


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"model": "9.9"}, "model"),
        ({"backend": "stock"}, "backend"),
        ({"backend": "native", "threads": 2}, "backend"),
        ({"backend": "native", "device": "cuda"}, "backend"),
        ({"device": "tpu"}, "device"),
        ({"backend": "torch", "threads": 0}, "threads"),
    ],
)
def test_wrong_arguments_are_named(arguments, field):
    pytest.importorskip("chgnet")
    with pytest.raises(InputError) as caught:
        ChgnetCalculator(**arguments)
    assert caught.value.field.split(".")[-1] == field


def test_structures_that_it_cannot_compute(salt):
    calculator = ChgnetCalculator()
    salt.calc = calculator
    salt.get_potential_energy()
    for atoms, reason in (
        (bulk("Po", "sc", a=3.35), "unknown_element: CHGNet was not trained with Po"),
        (bulk("NaCl", "rocksalt", a=5.6) + Atoms("Lr", [(1.5, 1.5, 0.5)]), "trained with Lr"),
        (Atoms("Na", cell=[20] * 3, pbc=True), "isolated_atom"),
    ):
        atoms.calc = calculator
        with pytest.raises(RelaxationError, match=reason):
            atoms.get_potential_energy()
        assert calculator.results == {}  # none of another structure
    slab = salt.copy()
    slab.pbc = (True, True, False)
    slab.calc = calculator
    with pytest.raises(InputError, match="pbc"):
        slab.get_potential_energy()


def test_pair_potentials(tmp_path):
    path = tmp_path / "mixed.lib"
    path.write_text(mixed_text())
    atoms = crystal()
    expected = PairEvaluator(read_library(mixed_text())).evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
    atoms.calc = PairCalculator(path)
    assert atoms.get_potential_energy() == expected.energy
    assert (atoms.get_forces() == expected.forces).all()
    assert atoms.get_stress(voigt=False) == pytest.approx(expected.stress)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_magnetic_moments()
    path.unlink()
    again = atoms.copy()
    again.calc = pickle.loads(pickle.dumps(atoms.calc))  # noqa: S301
    again.calc.reset()
    assert again.get_potential_energy() == expected.energy
    strange = bulk("Cu")
    strange.calc = atoms.calc
    with pytest.raises(RelaxationError, match="no potential for Cu-Cu"):
        strange.get_potential_energy()
    with pytest.raises(InputError, match="cannot be read"):
        PairCalculator(path)


def test_energy_that_is_no_number(salt):
    class Broken:
        name = "broken"

        def evaluate(self, numbers, positions, cell):  # noqa: ARG002
            from aiida_fuse2.core.potentials.evaluation import Evaluation

            return Evaluation(np.nan, np.zeros_like(positions), np.zeros((3, 3)))

    salt.calc = EvaluatorCalculator(Broken())
    with pytest.raises(RelaxationError, match="energy_not_finite"):
        salt.get_forces()


@pytest.mark.parametrize("backend", BACKENDS)
def test_needs_no_aiida(backend):
    pytest.importorskip("chgnet")
    env = {name: value for name, value in os.environ.items() if name != "AIIDA_PATH"}
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_AIIDA, backend]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    energy, has_torch = json.loads(done.stdout)
    assert energy == pytest.approx(-7.336, abs=0.001)  # eV for a formula unit of NaCl
    assert has_torch == (backend == "torch")


@needs_tensorflow
@pytest.mark.slow
def test_megnet(tmp_path):
    (tmp_path / "model.zip").write_bytes(trained()[0])
    once, twice, wrong = json.loads(run_apart(MEGNET, str(tmp_path / "model.zip")).splitlines()[-1])
    assert twice == pytest.approx(2 * once, abs=1e-4)
    assert "forces" in wrong[0]
    assert "Xe" in wrong[1]
    assert "isolated_atom" in wrong[2]
