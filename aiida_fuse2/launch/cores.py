"""The numbers of searches and processes that fit on this machine."""

from __future__ import annotations

import psutil
from aiida import orm
from aiida.engine import ProcessBuilder

from aiida_fuse2.worker.cores import usable_cores

from .jobs import CUDA, job_ports, runs_here

MEMORY_PER_PROCESS = 1_500_000_000
"""Memory that is reserved for a process that relaxes with CHGNet, bytes."""


def fitting_runs(builder: ProcessBuilder, runs: int) -> int:
    """Return the number of runs of a search that the cores and the free memory of this machine allow, at least one.

    All runs if the jobs go to another machine or through a scheduler, which shares the cores there.

    Args:
        builder: builder of the search.
        runs: number of runs in all.
    """
    if not _starts_jobs_here(builder):
        return runs
    jobs = [ports["settings"].get_dict() for ports in job_ports(builder)]
    processes = max(job.get("processes") or 1 for job in jobs) * builder.settings["relax_jobs"]
    by_cores = usable_cores() // (processes * max(job.get("threads") or 1 for job in jobs))
    by_memory = psutil.virtual_memory().available // (processes * MEMORY_PER_PROCESS)
    return int(max(1, min(runs, by_cores, by_memory)))


def _starts_jobs_here(builder: ProcessBuilder) -> bool:
    """Return whether all jobs of a search start at once on this machine."""
    return all(runs_here(code) for ports in job_ports(builder) for code in ports["codes"].values())


def share_cores(builder: ProcessBuilder, searches: int) -> None:
    """Share the cores of this machine among the jobs that run at once, unless the inputs say how many each uses.

    A job that relaxes on a GPU uses one process anyway.
    """
    jobs = searches * builder.settings["relax_jobs"]
    for ports in job_ports(builder):
        settings = ports["settings"].get_dict()
        is_here = all(runs_here(code) for code in ports["codes"].values())
        is_open = "processes" in settings and settings["processes"] is None and settings.get("device") != CUDA
        if jobs > 1 and is_here and is_open:
            ports["settings"] = orm.Dict({**settings, "processes": max(1, usable_cores() // jobs)})
