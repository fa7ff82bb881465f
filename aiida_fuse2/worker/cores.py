"""How many cores a job may use: those that a scheduler has given it, or those of the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping

CORES_OF_SCHEDULERS = {
    "SLURM_JOB_ID": ("SLURM_CPUS_ON_NODE",),
    "PBS_JOBID": ("NCPUS", "PBS_NUM_PPN"),
    "LSB_JOBID": ("LSB_DJOB_NUMPROC",),
    "SGE_TASK_ID": ("NSLOTS",),
}
"""Variables that hold the cores of a job on its node, by the variable that identifies the scheduler: Slurm
(``sbatch``, section "output environment variables"), PBS Professional and Torque (``qsub``), LSF (``bsub``),
Grid Engine (``qsub``)."""


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cores_of_job(environment: Mapping[str, str]) -> int:
    """Return how many cores the job of this process may use, at least one.

    If the scheduler does not report a number, the job may use one core: other jobs may run on its node.

    Args:
        environment: environment variables of the process.
    """
    for job, names in CORES_OF_SCHEDULERS.items():
        if job in environment:
            told = [int(environment[name]) for name in names if environment.get(name, "").isdecimal()]
            return max(1, min(usable_cores(), told[0] if told else 1))
    return usable_cores()
