"""Pieces of work side by side, each by itself."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from .cores import cores_of_job

Work = TypeVar("Work")
Result = TypeVar("Result")


_ELSEWHERE: list[float] = []
"""CPU times of pieces of work in other processes, s; those are children of a server and not of this process."""

_TOLD: list[float] = []
"""CPU times that this process has told to the one that it works for, s."""


def cpu_seconds() -> float:
    """Return the CPU time of this process, of those that it started and that have ended, and of `run_all`, s."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system + sum(_ELSEWHERE)


def _measured(function: Callable[[Work], Result], piece: Work) -> tuple[Result, float]:
    """Return a result with the CPU time since the last one; with the first one comes that of the start."""
    result = function(piece)
    _TOLD.append(cpu_seconds() - sum(_TOLD))
    return result, _TOLD[-1]


def run_all(
    function: Callable[[Work], Result], work: Sequence[Work], processes: int | None, *, apart: bool = False
) -> Iterator[tuple[Work, Result]]:
    """Yield each piece of work with its result as soon as it is there.

    Args:
        function: of a module, so that another process can import it.
        work: pieces, in the order in which they begin.
        processes: how many run at a time; as many as the job has cores if None.
        apart: whether even a single process must not be this one, e.g. because a library cannot share it.
    """
    count = min(processes or cores_of_job(os.environ), len(work))
    if count == 0:
        return
    if count == 1 and not apart:
        for piece in work:
            yield piece, function(piece)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])  # so that what all need is imported once
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        waiting = {pool.submit(_measured, function, piece): piece for piece in work}
        try:
            for done in as_completed(waiting):
                result, spent = done.result()
                _ELSEWHERE.append(spent)
                yield waiting[done], result
        finally:
            pool.shutdown(cancel_futures=True)
