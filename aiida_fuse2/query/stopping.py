"""Ending searches before their limits."""

from __future__ import annotations

from aiida import orm

from aiida_fuse2.workchains.stopping import STOP_EXTRA, STOP_NOW, jobs_to_kill

from .loading import active_searches

KILL_TIMEOUT = 30
"""How long the daemon may take to kill a job, s."""


def ask_to_stop(search: orm.WorkChainNode, *, now: bool = False) -> None:
    """Ask a search to end after its present generation, or at once and without it.

    Its running jobs go on until they are killed (``kill_jobs``). Of runs, all that are under way are asked,
    and no other one begins.
    """
    request = STOP_NOW if now else True
    search.base.extras.set(STOP_EXTRA, request)  # first: a search that begins now is asked by its runs
    for active in active_searches(search):
        active.base.extras.set(STOP_EXTRA, request)


def kill_jobs(search: orm.WorkChainNode) -> int:
    """Kill the jobs that a search waits for, or all searches of runs, and return their number.

    A search that was asked to stop now then ends; another one submits them again.
    """
    from aiida.engine.processes.control import kill_processes

    jobs = jobs_to_kill([search.pk, *(active.pk for active in active_searches(search))])
    if jobs:
        kill_processes(jobs, msg_text="the search was asked to stop at once", timeout=KILL_TIMEOUT)
    return len(jobs)
