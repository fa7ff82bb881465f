"""How the trials of a generation are shared among jobs."""

from __future__ import annotations

from .state import SearchState


def number_of_jobs(n_trials: int, state: SearchState, *, most: int, least_seconds: float) -> int:
    """Return how many jobs relax the trials of a generation; the result of a search does not depend on it.

    A job costs its start and AiiDA's book-keeping, so it should have some work to do: the average
    cost of earlier structures is the estimate. Nothing is known about the first generation, which is shared among as
    many jobs as allowed.

    Args:
        n_trials: number of trials without a result.
        state: state before the generation.
        most: largest number of jobs.
        least_seconds: CPU time that a job should have to do, s.
    """
    allowed = min(most, n_trials)
    if not state.tried:
        return allowed
    expected = n_trials * state.cpu_seconds / state.tried
    if expected >= allowed * least_seconds:
        return allowed
    return max(1, int(expected / least_seconds))
