"""Relaxation driver and batch job with cheap potentials; one test with CHGNet."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators import emt as ase_emt
from ase.calculators.calculator import Calculator, all_changes

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.evaluation import AseEvaluator
from aiida_fuse2.core.relaxers import make_evaluator, relax, single_point
from aiida_fuse2.core.relaxers.calculators import check_stress
from aiida_fuse2.io.names import ERROR_FILE, JOB_FILE, RELAXED_FILE, RESULTS_FILE, SOFTWARE_FILE, TRIALS_FILE
from aiida_fuse2.io.trials import from_extxyz, trials_to_text
from aiida_fuse2.worker import main
from aiida_fuse2.worker.software import calculator_versions
from tests import lying
from tests.conftest import EMT
from tests.trials import make_trial


class Broken(Calculator):
    """Fails, or gives no number."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, value=None, **kwargs):
        super().__init__(**kwargs)
        self.value = value

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.value is None:
            raise RuntimeError("no answer")
        self.results = {"energy": self.value, "forces": np.ones((len(atoms), 3)), "stress": np.zeros(6)}


def broken(value=None):
    return AseEvaluator(Broken(value), "broken")


def alloy(shift=0.1, seed=0):
    atoms = bulk("Cu", "fcc", a=3.8, cubic=True)
    atoms.numbers[0] = 79
    atoms.rattle(shift, rng=np.random.default_rng(seed))
    return atoms


@pytest.fixture
def emt(relax_settings):
    return relax_settings(**EMT)


def test_relaxation_converges_and_leaves_its_input(emt):
    atoms = alloy()
    before = atoms.positions.copy()
    result = relax(atoms, make_evaluator(emt), emt)
    assert result.status == "converged"
    assert np.array_equal(atoms.positions, before)
    assert result.values["fmax"] <= emt.fmax
    assert result.values["evaluations"] > result.values["steps"] > 0
    assert result.values["spacegroup_symbol_loose"] == "Pm-3m"
    assert result.atoms.calc is None
    check = result.atoms.copy()
    check.calc = ase_emt.EMT()
    assert check.get_potential_energy() / 4 == pytest.approx(result.values["energy"], abs=1e-6)


ASE_OPTIMIZERS = ["FIRE", "FIRE2", "LBFGS", "BFGS", "BFGSLineSearch"]


def test_chains_that_do_not_feel_each_other_have_failed(relax_settings):
    settings = relax_settings(fmax=0.1)
    chain = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.4]], cell=[9.0, 9.0, 4.8], pbc=True)
    assert relax(chain, make_evaluator(settings), settings).status == "isolated_parts"


@pytest.mark.parametrize("optimizer", ["JointLBFGS", *ASE_OPTIMIZERS])
def test_every_optimizer_reaches_the_same_minimum(relax_settings, optimizer):
    settings = relax_settings(**{**EMT, "fmax": 0.01, "max_steps": 500, "optimizer": optimizer})
    result = relax(alloy(), make_evaluator(settings), settings)
    assert result.status == "converged"
    assert result.values["energy"] == pytest.approx(-0.0155, abs=5e-4)  # L1_2 Cu3Au with EMT


def test_pressure_shrinks_and_adds_pv(relax_settings):
    free = relax_settings(**EMT)
    pressed = relax_settings(**EMT, pressure=10.0)
    a, b = (relax(alloy(), make_evaluator(s), s) for s in (free, pressed))
    assert b.values["volume"] < 0.97 * a.values["volume"]
    work = 10.0 * units.GPa * b.values["volume"] / 4
    assert b.values["energy"] == pytest.approx(b.values["potential_energy"] + work)
    stressed = b.atoms.copy()
    stressed.calc = ase_emt.EMT()
    assert -stressed.get_stress()[:3].mean() / units.GPa == pytest.approx(10.0, abs=2.0)


@pytest.mark.parametrize("optimizer", ["JointLBFGS", "BFGS"])
def test_fixed_cell_stays(relax_settings, optimizer):
    settings = relax_settings(**EMT, relax_cell=False, optimizer=optimizer)
    result = relax(alloy(), make_evaluator(settings), settings)
    assert result.status == "converged"
    assert np.allclose(result.atoms.cell.array, alloy().cell.array)


def test_each_evaluation_is_counted_once(emt):
    evaluator = make_evaluator(emt)
    asked = []
    evaluate = evaluator.evaluate
    evaluator.evaluate = lambda *geometry: asked.append(1) or evaluate(*geometry)
    result = relax(alloy(), evaluator, emt)
    assert result.values["evaluations"] == len(asked)
    assert result.values["potential"] == "ase.calculators.emt.EMT"


@pytest.mark.parametrize("optimizer", ["JointLBFGS", *ASE_OPTIMIZERS])
def test_step_limit_is_a_named_failure(relax_settings, optimizer):
    settings = relax_settings(**{**EMT, "max_steps": 1, "fmax": 1e-6, "optimizer": optimizer})
    result = relax(alloy(0.3), make_evaluator(settings), settings)
    assert (result.status, result.fingerprint) == ("step_limit", None)
    assert "energy" not in result.values
    if optimizer == "JointLBFGS":
        assert result.values["evaluations"] == 1


@pytest.mark.parametrize("optimizer", ["JointLBFGS", "BFGS"])
def test_isolated_atom_never_reaches_the_model(relax_settings, optimizer):
    settings = relax_settings(**EMT, optimizer=optimizer)
    atoms = Atoms("Cu", cell=[9, 9, 9], pbc=True)
    result = relax(atoms, broken(), settings)
    assert (result.status, result.values["evaluations"]) == ("isolated_atom", 0)


def test_flat_cell_is_named(emt):
    assert relax(Atoms("Cu", cell=[4, 4, 0.1], pbc=True), broken(), emt).status == "cell_exploded"


@pytest.mark.parametrize("optimizer", ["JointLBFGS", *ASE_OPTIMIZERS])
def test_calculator_errors_and_nan_are_named(relax_settings, optimizer):
    settings = relax_settings(**EMT, optimizer=optimizer)
    failed = relax(alloy(), broken(), settings)
    assert (failed.status, failed.detail) == ("calculator_error", "RuntimeError: no answer")
    assert failed.values["evaluations"] == 1
    assert relax(alloy(), broken(float("nan")), settings).status == "energy_not_finite"


def test_last_geometry_of_a_failure_is_kept(relax_settings):
    settings = relax_settings(**{**EMT, "max_steps": 3, "fmax": 1e-6})
    start = alloy(0.3)
    result = relax(start, make_evaluator(settings), settings)
    assert 0 < np.abs(result.atoms.positions - start.positions).max() < 1


def test_fused_atoms_have_failed(relax_settings):
    settings = relax_settings(**EMT, min_contact=0.99)
    assert relax(alloy(), make_evaluator(settings), settings).status == "fused_atoms"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"calculator": "ase.calculators.nowhere.Nothing"}, "relax.settings.calculator"),
        ({"calculator": "nothing"}, "settings.calculator"),
        (
            {"calculator": "matscipy.calculators.pair_potential.PairPotential", "arguments": {"wrong": 1}},
            "relax.settings.arguments",
        ),
        ({"model": "9.9.9"}, "settings.model"),
    ],
)
def test_bad_calculator_is_refused(relax_settings, changes, field):
    with pytest.raises(InputError) as caught:
        make_evaluator(relax_settings(**changes))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("calculator", "argument"),
    [("subprocess.getoutput", "cmd"), ("os.system", "command"), ("pathlib.Path.touch", "self"), ("io.FileIO", "file")],
)
def test_what_is_no_calculator_is_not_called(relax_settings, tmp_path, calculator, argument):
    marker = tmp_path / "has_run"
    value = str(marker) if calculator == "io.FileIO" else f"touch {marker}"
    arguments = {argument: value, **({"mode": "w"} if calculator == "io.FileIO" else {})}
    with pytest.raises(InputError, match="ASE calculator class"):
        make_evaluator(relax_settings(calculator=calculator, arguments=arguments))
    assert not marker.exists()


# --- calculators that are not what they should be ---------------------------------------------------


@pytest.mark.parametrize("optimizer", ["JointLBFGS", "FIRE", "BFGSLineSearch"])
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("WithoutStress", "no_stress"),
        ("NoStressAfterAll", "no_stress"),
        ("StressOfNone", "no_stress"),
        ("StressOfZeros", "no_stress"),
        ("NanInForces", "energy_not_finite"),
        ("NanInStress", "energy_not_finite"),
        ("TooFewForces", "calculator_error"),
        ("StressOfNine", "calculator_error"),
        ("Hole", "energy_impossible"),
        ("DeepHole", "energy_impossible"),
        ("Peak", "energy_impossible"),
        ("MovesAtoms", "calculator_changed_atoms"),
        ("MovesCell", "calculator_changed_atoms"),
        ("ChangesElements", "calculator_changed_atoms"),
        ("OpensTheCell", "calculator_changed_atoms"),
        ("Stale", "calculator_error"),
        ("Exits", "calculator_error"),
        ("FailsWithoutText", "calculator_error"),
    ],
)
def test_what_a_calculator_may_not_do_is_a_named_failure(relax_settings, optimizer, kind, status):
    settings = relax_settings(**EMT, optimizer=optimizer)
    evaluator = AseEvaluator(getattr(lying, kind)(), kind, needs_stress=True)
    assert relax(alloy(), evaluator, settings).status == status


def test_a_calculator_that_writes_into_its_own_arrays_does_no_harm(emt):
    first = relax(alloy(), AseEvaluator(lying.ReusesItsArrays(), "x", needs_stress=True), emt)
    second = relax(alloy(), make_evaluator(emt), emt)
    assert first.status == "converged"
    assert first.values["energy"] == second.values["energy"]


@pytest.mark.parametrize("optimizer", ["JointLBFGS", "BFGS"])
def test_no_stress_is_needed_where_the_cell_stays(relax_settings, optimizer):
    settings = relax_settings(
        **{**EMT, "calculator": "tests.lying.WithoutStress"}, relax_cell=False, optimizer=optimizer
    )
    assert relax(alloy(), make_evaluator(settings), settings).status == "converged"
    assert single_point(alloy(), make_evaluator(settings), settings).status == "converged"


@pytest.mark.parametrize("kind", ["Hole", "DeepHole", "Peak", "NanInForces", "TooFewForces", "MovesAtoms"])
def test_energies_of_single_points_are_checked(emt, kind):
    assert single_point(alloy(), AseEvaluator(getattr(lying, kind)(), kind), emt).status != "converged"


def test_a_calculator_without_stress_is_refused_before_anything_runs(relax_settings):
    for kind in ("WithoutStress", "SaysWhenMade"):
        settings = relax_settings(**{**EMT, "calculator": f"tests.lying.{kind}"})
        with pytest.raises(InputError, match="computes no stress"):
            make_evaluator(settings)
    with pytest.raises(InputError, match=r"relax\.settings\.calculator = .*WithoutStress.*computes no stress"):
        check_stress(relax_settings(**{**EMT, "calculator": "tests.lying.WithoutStress"}))
    for changes in (
        {"calculator": "tests.lying.WithoutStress", "relax_cell": False},
        {"calculator": "tests.lying.SaysWhenMade"},
        {"calculator": "no.such.Calculator"},
        {"calculator": "chgnet"},
        {},
    ):
        check_stress(relax_settings(**{**EMT, **changes}))


@pytest.mark.parametrize(
    "words", ["", "std::bad_alloc", "DefaultCPUAllocator: can't allocate memory", "CUDA out of memory."]
)
def test_a_lack_of_memory_is_not_the_fault_of_a_structure(emt, words):
    evaluator = AseEvaluator(lying.Starves(words), "x")
    for method in (relax, single_point):
        with pytest.raises(MemoryError, match=words or "MemoryError"):
            method(alloy(), evaluator, emt)


def test_texts_of_errors_are_such_as_every_database_takes(emt):
    failed = relax(alloy(), AseEvaluator(lying.Exits("no\0 \ud800\nway" + 1000 * "!"), "x"), emt)
    assert failed.detail.startswith(r"SystemExit: no\x00 \ud800 way!!!")
    assert len(failed.detail) < 350


# --- the job ----------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path, monkeypatch, emt):
    trials = [make_trial(i, alloy(seed=i)) for i in range(4)]
    trials[2] = make_trial(2, Atoms("Cu", cell=[9, 9, 9], pbc=True))
    (tmp_path / TRIALS_FILE).write_text(trials_to_text(trials))
    monkeypatch.chdir(tmp_path)

    def run(labels=None, **changes):
        settings = {**emt.model_dump(), **changes}
        (tmp_path / JOB_FILE).write_text(json.dumps({"settings": settings, "labels": labels}))
        code = main(["relax"])
        rows = {}
        if (tmp_path / RESULTS_FILE).exists():
            rows = {r.pop("label"): r for r in map(json.loads, (tmp_path / RESULTS_FILE).read_text().splitlines())}
        return code, rows

    return run


def without_times(rows):
    return {label: {k: v for k, v in row.items() if k != "cpu_seconds"} for label, row in rows.items()}


def test_batch_goes_on_after_a_failure(job, tmp_path):
    code, rows = job()
    assert code == 0
    assert [row["status"] for row in rows.values()] == ["converged", "converged", "isolated_atom", "converged"]
    frames = from_extxyz((tmp_path / RELAXED_FILE).read_text())
    assert [f.info["label"] for f in frames] == list(rows)


def test_shares_and_processes_change_nothing(job):
    _, whole = job()
    names = list(whole)
    parts = {}
    for share in (names[::2], names[1::2]):
        rows = job(labels=share)[1]
        assert list(rows) == share
        parts |= rows
    assert without_times(parts) == without_times(whole)
    assert without_times(job(processes=2)[1]) == without_times(whole)


def test_results_are_written_as_they_come(job, tmp_path):
    """What waits for nothing but a slow structure must not be lost with it."""
    trials = [make_trial(0, alloy().repeat((1, 1, 2))), *(make_trial(i, alloy(seed=i)) for i in (1, 2, 3))]
    (tmp_path / TRIALS_FILE).write_text(trials_to_text(trials))
    slow = {"calculator": "tests.faulty.SlowOnLargeCells", "arguments": {"limit": 4, "delay": 4.0}}
    labels = [t.info.label for t in trials]
    assert list(job(**slow)[1]) == labels
    assert list(job(**slow, processes=2)[1])[-1] == labels[0]


def test_versions_are_told(job, tmp_path, capsys):
    from importlib.metadata import version

    job()
    written = json.loads((tmp_path / SOFTWARE_FILE).read_text())
    assert main(["versions", "--calculator", "ase.calculators.emt.EMT"]) == 0
    assert json.loads(capsys.readouterr().out) == written
    assert written["ase"] == version("ase")
    assert main(["versions", "--calculator", "no.such.Calculator"]) == 2
    assert "no.such" in capsys.readouterr().err


def test_versions_of_a_calculator_of_ones_own(tmp_path, monkeypatch):
    """It changes with the source and with the files that are named in the arguments."""
    source, model = tmp_path / "own_potential.py", tmp_path / "model.pt"
    monkeypatch.syspath_prepend(tmp_path)
    source.write_text("class Potential: ...")
    model.write_bytes(b"one")
    arguments = {"a.model": str(model), "kind": "small", "bad": "\0", "n": 3}
    found = [calculator_versions("own_potential.Potential", arguments)]
    model.write_bytes(b"two")
    found.append(calculator_versions("own_potential.Potential", arguments))
    source.write_text("class Potential: pass")
    found.append(calculator_versions("own_potential.Potential", arguments))
    assert [set(versions) for versions in found] == [{"source of the calculator", "file of a-model"}] * 3
    assert found[0] != found[1] != found[2]
    assert calculator_versions("chgnet", arguments) == {}


WEIGHTS = {"package": "ase", "version": None, "module": None, "file": "emt.dat", "sha256": None}


def test_weights_are_checked_and_told(job, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    path = tmp_path / "share/aiida-fuse2/weights/emt.dat"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    emt = {"calculator": "tests.faulty.EmtWithWeights", "arguments": {"weights": "{weights}", "device": "{device}"}}
    code, rows = job(**emt, model="emt-plain", weights=WEIGHTS)
    assert code == 0
    assert {row["potential"] for row in rows.values()} == {"emt-plain"}
    written = json.loads((tmp_path / SOFTWARE_FILE).read_text())
    assert written["weights"] == sha256(b"weights").hexdigest()
    for wrong, said in (
        ({"sha256": "0" * 64}, "sha256"),
        ({"version": "0.1"}, "version"),
        ({"file": "other.dat"}, "file"),
        ({"package": "no-such-package"}, "package"),
    ):
        assert job(**emt, weights={**WEIGHTS, **wrong})[0] == 2
        assert said in json.loads((tmp_path / ERROR_FILE).read_text())["field"]


def test_the_weights_of_chgnet_are_the_published_ones(job, tmp_path):
    from aiida_fuse2.protocols.models import find_model

    job(calculator="chgnet")
    published = find_model("chgnet-0.3.0").weights
    assert json.loads((tmp_path / SOFTWARE_FILE).read_text())["weights"] == published.sha256


def test_refused_input_is_written_down(job, tmp_path):
    code, rows = job(calculator="no.such.Calculator")
    assert (code, rows) == (2, {})
    assert json.loads((tmp_path / ERROR_FILE).read_text())["field"] == "relax.settings.calculator"


@pytest.mark.parametrize("processes", [1, 2])
def test_a_lack_of_memory_fails_the_job_after_all_others(job, tmp_path, processes):
    """Those that starve are left for another job; with them goes no other."""
    trials = [make_trial(0, alloy().repeat((1, 1, 2))), *(make_trial(i, alloy(seed=i)) for i in (1, 2))]
    (tmp_path / TRIALS_FILE).write_text(trials_to_text(trials))
    starving = {"calculator": "tests.lying.StarvesOnLargeCells", "processes": processes}
    with pytest.raises(MemoryError, match="not enough memory to relax g00000_w000_t000"):
        job(**starving)
    labels = [json.loads(line)["label"] for line in (tmp_path / RESULTS_FILE).read_text().splitlines()]
    assert sorted(labels) == [trial.info.label for trial in trials[1:]]


def test_chgnet_finds_the_perovskite_minimum(relax_settings, perovskite):
    pytest.importorskip("chgnet")
    settings = relax_settings()
    perovskite.set_cell(perovskite.cell * 1.03, scale_atoms=True)
    result = relax(perovskite, make_evaluator(settings), settings)
    assert result.status == "converged"
    assert result.values["energy"] == pytest.approx(-8.4236, abs=5e-4)
    assert result.values["spacegroup_symbol"] == "Pm-3m"


def test_a_job_begins_without_packages_that_are_slow_to_import():
    """They would double what a job of a few small structures costs."""
    code = (
        "import sys, aiida_fuse2.worker.relaxing, aiida_fuse2.core.relaxers.calculators\n"
        "slow = ('torch', 'chgnet', 'pymatgen', 'pyxtal', 'scipy.integrate', 'scipy.interpolate', 'scipy.special')\n"
        "print([name for name in slow if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
