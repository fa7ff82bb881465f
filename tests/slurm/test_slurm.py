"""A search whose jobs go through a real Slurm, and a job that ends itself before Slurm does.

`python -m pytest tests/slurm` runs them where Slurm and munge are installed (Debian: slurm-wlm, munge), as root.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from aiida import orm
from aiida.engine import run_get_node
from ase.build import bulk

from aiida_fuse2.io.trials import trials_to_text
from aiida_fuse2.tiers import TierChoice, build_tiers
from aiida_fuse2.workchains.relax import RelaxTiersWorkChain
from aiida_fuse2.workchains.search import Fuse2WorkChain
from tests.conftest import emt_overrides
from tests.tiers.changes import ASE
from tests.trials import make_trial
from tests.workchains.test_tiers import label

from .cluster import cluster, problem

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(problem() is not None, reason=str(problem())),
]

ROOT = Path(__file__).resolve().parents[2]

CORES = 2


@pytest.fixture(scope="module")
def slurm():
    with cluster(CORES) as configuration:
        yield configuration


@pytest.fixture
def slurm_code(slurm, aiida_profile, worker_path, tmp_path):
    """The worker on a computer with the scheduler Slurm."""
    computer = orm.Computer(
        label=f"slurm-{tmp_path.name}",
        hostname="localhost",
        transport_type="core.local",
        scheduler_type="core.slurm",
        workdir=str(tmp_path / "work"),
    ).store()
    computer.set_minimum_job_poll_interval(0.5)
    computer.configure(safe_interval=0.0)
    return orm.InstalledCode(computer=computer, filepath_executable=worker_path, label="worker").store()


def options(seconds=600):
    return {
        "resources": {"num_machines": 1, "num_mpiprocs_per_machine": 1, "num_cores_per_mpiproc": CORES},
        "max_wallclock_seconds": seconds,
        "environment_variables": {"PYTHONPATH": str(ROOT)},
    }


def test_a_search_with_tiers_uses_all_cores_of_its_jobs(slurm_code, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    calculator = {"calculator": "tests.faulty.NotesItsProcess", "arguments": {"folder": str(notes)}}
    overrides = emt_overrides(max_atoms=4, population_size=4, max_structures=4)
    overrides["relax"] = {"metadata": {"options": options()}}
    overrides["tiers"] = {
        "t00": {"settings": {**ASE["settings"], **calculator, "processes": None}},
        "t01": {"settings": ASE["settings"]},
    }
    choice = TierChoice(names=["ase", "ase"])
    builder = Fuse2WorkChain.get_builder_from_protocol("CuAu", slurm_code, "fast", overrides, tiers=choice)
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    jobs = [node for node in search.called_descendants if isinstance(node, orm.CalcJobNode)]
    assert len(jobs) == 2
    assert all(int(job.get_job_id()) > 0 for job in jobs)  # numbers of Slurm
    script = jobs[0].base.repository.get_object_content("_aiidasubmit.sh")
    assert f"--cpus-per-task={CORES}" in script
    processes = [path.read_text() for path in notes.iterdir()]
    assert set(processes) == {str(CORES)}
    n_first = sum("NotesItsProcess" in job.inputs.settings["calculator"] for job in jobs)
    assert n_first < len(processes) <= CORES * n_first
    assert search.outputs.structure.creator.computer.scheduler_type == "core.slurm"


def test_a_job_ends_before_its_wall_time_does_and_names_what_hangs(slurm_code):
    frames = [bulk("Cu"), bulk("Cu", cubic=True), bulk("Au")]
    text = trials_to_text(make_trial(i, atoms) for i, atoms in enumerate(frames))
    hanging = {"calculator": "tests.faulty.HangsOnLargeCells", "arguments": {"limit": 3}}
    overrides = {
        "t00": {"settings": {**ASE["settings"], **hanging, "processes": 2}, "options": options(60)},
        "t01": {"settings": ASE["settings"], "options": options()},
    }
    choice = TierChoice(names=["ase", "ase"])
    tiers = build_tiers(choice, worker=slurm_code, protocol="fast", overrides=overrides, elements={"Cu", "Au"})
    begun = time.monotonic()
    trials = orm.SinglefileData.from_string(text, filename="trials.extxyz")
    _, node = run_get_node(RelaxTiersWorkChain, trials=trials, tiers=tiers)
    assert time.monotonic() - begun > 50
    assert node.is_finished_ok, node.exit_message
    rows = node.outputs.results["by_label"]
    assert {name: row["status"] for name, row in rows.items()} == {
        label(0): "converged",
        label(1): "wall_time",
        label(2): "converged",
    }
    assert {row["tier"] for row in rows.values()} == {"ase"}
    assert sorted(node.outputs.structures) == [label(0), label(2)]
