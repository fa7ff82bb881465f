"""The batch runner of GULP, with a stand-in for the program: every outcome, several stages, what is kept."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units

from aiida_fuse2.core.potentials.pair import PairEvaluator, read_library
from aiida_fuse2.core.search.trials import trial_label
from aiida_fuse2.io.names import (
    ERROR_FILE,
    GULP_ARCHIVE,
    GULP_INPUT,
    GULP_OUTPUT,
    JOB_FILE,
    POTENTIAL_FILE,
    RELAXED_FILE,
    RESULTS_FILE,
    TRIALS_FILE,
)
from aiida_fuse2.io.trials import from_extxyz, trials_to_text
from aiida_fuse2.protocols import merge, protocol_inputs
from aiida_fuse2.worker import main
from tests.trials import make_trial

LIBRARY = "lennard epsilon zero\nAr Ar 0.5 2.5 9.0\nAr Kr 0.5 2.6 9.0\nKr Kr 0.5 2.7 9.0\n"


def stand_in(folder, fault=""):
    """An executable that behaves as GULP, or as it does when something is wrong."""
    script = Path(__file__).parents[1] / "gulp_stand_in.py"
    program = folder / f"gulp{fault}"
    arguments = f" --fault {fault}" if fault else ""
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}"{arguments}\n')
    program.chmod(0o755)
    return program


def noble(seed=0, n=2):
    atoms = Atoms("ArKr", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[3.2, 3.3, 3.4], pbc=True)
    atoms.rattle(0.1, rng=np.random.default_rng(seed))
    return atoms.repeat((n // 2, 1, 1))


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(structures, *, fault="", protocol="optimize", labels=None, library=LIBRARY, command=None, **changes):
        trials = [make_trial(index, atoms) for index, atoms in enumerate(structures)]
        (tmp_path / TRIALS_FILE).write_text(trials_to_text(trials))
        (tmp_path / POTENTIAL_FILE).write_text(library)
        parameters = merge(protocol_inputs(protocol, name="gulp")["parameters"], {"min_contact": 0.1, **changes})
        program = command or [str(stand_in(tmp_path, fault))]
        values = {"parameters": parameters, "command": program, "labels": labels}
        (tmp_path / JOB_FILE).write_text(json.dumps(values))
        code = main(["gulp"])
        path = tmp_path / RESULTS_FILE
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return code, {row["label"]: row for row in rows}

    return run


def test_a_batch_is_relaxed(job, tmp_path):
    structures = [noble(0), noble(1, 4), Atoms("Ar", cell=[9, 9, 9], pbc=True)]
    code, rows = job(structures, processes=2, keep_outputs="all")
    assert code == 0
    assert [rows[trial_label(0, 0, i)]["status"] for i in range(3)] == ["converged", "converged", "isolated_atom"]
    frames = {f.info["label"]: f for f in from_extxyz((tmp_path / RELAXED_FILE).read_text())}
    engine = PairEvaluator(read_library(LIBRARY))
    for label in (trial_label(0, 0, 0), trial_label(0, 0, 1)):
        row, atoms = rows[label], frames[label]
        found = engine.evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
        assert row["energy"] * len(atoms) == pytest.approx(found.energy, abs=1e-4)  # coordinates have six decimals
        assert row["potential"] == "gulp 0.0.0"
        assert (row["n_atoms"], row["outcome"]) == (len(atoms), "achieved")
        assert row["fingerprint"]
        assert row["evaluations"] > row["steps"] > 0
    with zipfile.ZipFile(tmp_path / GULP_ARCHIVE) as archive:
        names = {name for name in archive.namelist() if name.startswith(trial_label(0, 0, 1))}
    folder = trial_label(0, 0, 1)
    assert names == {f"{folder}/{prefix}main.{end}" for prefix in ("", "stage_1_") for end in ("gin", "gout")}
    assert not (tmp_path / "runs").exists()


def test_a_single_point_is_the_energy_of_the_engine(job, tmp_path):
    atoms = noble(3)
    code, rows = job([atoms], protocol="single")
    (row,) = rows.values()
    expected = PairEvaluator(read_library(LIBRARY)).evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
    assert code == 0
    assert (row["status"], row["outcome"]) == ("converged", "single")
    assert row["energy"] * len(atoms) == pytest.approx(expected.energy, abs=1e-5)
    assert (tmp_path / GULP_INPUT).read_text().startswith("single noelectro")
    assert "Job Finished" in (tmp_path / GULP_OUTPUT).read_text()


def test_pressure_is_in_the_enthalpy_and_not_in_the_energy(job):
    stages = [{"keywords": ["opti", "conp"]}]
    _, rows = job([noble()], pressure=10.0, stages=stages)
    (row,) = rows.values()
    work = 10.0 * units.GPa * row["volume"] / row["n_atoms"]
    assert row["energy"] - row["potential_energy"] == pytest.approx(work)
    _, free = job([noble()], stages=stages)
    assert row["volume"] < next(iter(free.values()))["volume"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("error", "gulp_error"),
        ("truncated", "output_truncated"),
        ("silent", "output_truncated"),
        ("steps", "step_limit"),
        ("time", "time_limit"),
        ("no_minimum", "no_minimum"),
        ("stars", "overflow"),
        ("nan", "energy_not_finite"),
    ],
)
def test_every_failure_has_a_name(job, tmp_path, fault, status):
    stages = [{"keywords": ["opti", "conp"]}]
    code, rows = job([noble(0), noble(1)], fault=fault, labels=[trial_label(0, 0, 1)], stages=stages)
    (row,) = rows.values()
    assert (code, row["label"], row["status"]) == (0, trial_label(0, 0, 1), status)
    assert row["detail"]
    assert row["fingerprint"] is None
    if fault == "silent":
        assert "exit code 132: Illegal instruction" in row["detail"]
    assert from_extxyz((tmp_path / RELAXED_FILE).read_text())[0].info["status"] == status


def test_a_low_gradient_counts_without_gulps_tolerances(job):
    stages = [{"keywords": ["opti", "conp"]}]
    _, rows = job([noble()], fault="no_minimum", max_gnorm=5.0, stages=stages)
    (row,) = rows.values()
    assert (row["status"], row["outcome"], row["gnorm"]) == ("converged", "no_minimum", 5.0)


def test_a_run_that_hangs_is_killed(job):
    _, rows = job([noble()], fault="hang", time_limit=0.2)
    (row,) = rows.values()
    assert (row["status"], row["detail"]) == ("time_limit", "killed after 0.4 s of wall time")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"library": "buck\nAr Ar 1.0 0.3 0.0 6.0\n"}, "potential"),
        ({"library": "species 1\nAr core 1.0\n" + LIBRARY}, "parameters.electrostatics"),
        ({"command": ["/nowhere/gulp"]}, "gulp"),
        ({"max_gnorm": -1.0}, "parameters.max_gnorm"),
    ],
)
def test_bad_input_is_named_before_anything_runs(job, tmp_path, changes, field):
    code, rows = job([noble()], **changes)
    assert (code, rows) == (2, {})
    assert json.loads((tmp_path / ERROR_FILE).read_text())["field"] == field
