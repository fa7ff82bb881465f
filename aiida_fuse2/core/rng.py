"""Keyed random generators: one integer seed, one independent stream per decision.

Every random decision of a search uses a generator made from the seed of the search and a key of
(walker, generation, trial, attempt, purpose). The streams do not depend on the order in which they
are used, so a search gives the same result with any number of workers and through restarts.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The purpose of a stream of random numbers; part of its key. Values must never change."""

    POOL = 1
    INITIAL = 2
    MOVE = 3
    PREPARE = 4
    ACCEPT = 5
    MELT = 6
    LEARN = 7
    POOL_ORDER = 8
    CHOOSE = 9
    TURN = 10
    RESTART = 11


def keyed_generator(
    seed: int, purpose: Purpose, *, walker: int = 0, generation: int = 0, trial: int = 0, attempt: int = 0
) -> np.random.Generator:
    """Return the random generator of one decision.

    Args:
        seed: seed of the search, not negative.
        purpose: purpose of the numbers.
        walker: index of the walker, from 0.
        generation: index of the generation, from 0.
        trial: index of the trial within walker and generation, from 0.
        attempt: index of the attempt at this trial, from 0.

    Returns:
        A PCG64 generator, statistically independent of that of every other key
        (``numpy.random.SeedSequence`` with a spawn key).
    """
    key = (int(purpose), walker, generation, trial, attempt)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
