"""Cores of a job."""

from __future__ import annotations

import pytest

from aiida_fuse2.worker import cores


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch):
    monkeypatch.setattr(cores, "usable_cores", lambda: 8)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 8),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "4"}, 4),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "64"}, 8),
        ({"SLURM_CPUS_ON_NODE": "4"}, 8),
        ({"PBS_JOBID": "7.host", "NCPUS": "3"}, 3),
        ({"PBS_JOBID": "7.host", "PBS_NUM_PPN": "2"}, 2),
        ({"LSB_JOBID": "7", "LSB_DJOB_NUMPROC": "5"}, 5),
        ({"SGE_TASK_ID": "undefined", "NSLOTS": "6"}, 6),
        ({"SLURM_JOB_ID": "7"}, 1),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "many"}, 1),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "0"}, 1),
    ],
)
def test_what_the_scheduler_gave(environment, expected):
    assert cores.cores_of_job(environment) == expected
