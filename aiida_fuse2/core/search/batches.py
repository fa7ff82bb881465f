"""How the trials of a generation are shared out among jobs."""

from __future__ import annotations

from .state import SearchState


def number_of_jobs(n_trials: int, state: SearchState, *, most: int, least_seconds: float) -> int:
    """Return how many jobs relax the trials of a generation; the result of a search does not depend on it.

    A job costs its start and AiiDA's book-keeping, so it should have some work to do: what the structures
    before have cost on average tells how much there is. Nothing is known of the first generation, which is
    shared out as far as allowed.

    Args:
        n_trials: trials that have no result yet.
        state: before the generation.
        most: jobs allowed.
        least_seconds: CPU time that a job should have to do, s.
    """
    allowed = min(most, n_trials)
    if not state.tried:
        return allowed
    expected = n_trials * state.cpu_seconds / state.tried
    if expected >= allowed * least_seconds:
        return allowed
    return max(1, int(expected / least_seconds))
