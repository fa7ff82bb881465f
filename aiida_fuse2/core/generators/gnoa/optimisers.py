"""Optimisers of a structure vector: random, particle swarm, Bayesian.

Each proposes vectors and is told their objective. Results depend only on the passed generator and on these values.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float64]

BATCH = 16
"""Largest number of vectors that are proposed together."""


class SearchSpace(Protocol):
    """The space of the vectors to optimise: numbers between 0 and 1."""

    size: int
    """Length of a vector."""

    @property
    def periodic(self) -> NDArray[np.bool_]:
        """Which numbers are periodic, shape (size,)."""

    def sample(self, rng: np.random.Generator) -> Vectors:
        """Return a random vector, shape (size,)."""


class Optimiser(Protocol):
    """Minimises an objective of a vector."""

    def ask(self, most: int) -> Vectors:
        """Return the vectors to evaluate next, shape (k, size), k from 1 to ``most``."""

    def tell(self, vectors: Vectors, values: NDArray[np.float64]) -> None:
        """Receive the objective of proposed vectors.

        Args:
            vectors: shape (k, size).
            values: lower is better, shape (k,).
        """


class RandomSearch:
    """Independent random vectors."""

    def __init__(self, space: SearchSpace, trials: int, rng: np.random.Generator) -> None:  # noqa: ARG002 - the same for all
        self._space, self._rng = space, rng

    def ask(self, most: int) -> Vectors:
        """Return random vectors."""
        return np.array([self._space.sample(self._rng) for _ in range(min(most, BATCH))])

    def tell(self, vectors: Vectors, values: NDArray[np.float64]) -> None:
        """Ignore the values."""


class ParticleSwarm:
    """Particle swarm with inertia (Shi and Eberhart, Proc. IEEE ICEC 1998, DOI 10.1109/ICEC.1998.699146).

    Constants are those of Clerc and Kennedy, IEEE Trans. Evol. Comput. 2002, 6, 58 (DOI 10.1109/4235.985692), in
    their usual rounding. Periodic numbers move along the shorter way; the others stop at 0 and 1.
    """

    INERTIA = 0.7298
    PULL = 1.4962
    LARGEST_STEP = 0.25
    """Largest change of a number in a step."""

    GENERATIONS = 5
    """Smallest number of steps of a swarm; fewer trials make a smaller swarm."""

    PARTICLES = (4, 20)
    """Smallest and largest swarm."""

    def __init__(self, space: SearchSpace, trials: int, rng: np.random.Generator) -> None:
        self._space, self._rng = space, rng
        least, most = self.PARTICLES
        self._count = max(1, min(most, trials, max(least, trials // self.GENERATIONS)))
        self._places = np.array([space.sample(rng) for _ in range(self._count)])
        self._speeds = np.zeros_like(self._places)
        self._bests = self._places.copy()
        self._best_values = np.full(self._count, np.inf)
        self._next = 0

    def ask(self, most: int) -> Vectors:
        """Return the particles that have not been evaluated in this step."""
        last = min(self._next + most, self._count)
        return self._places[self._next : last].copy()

    def tell(self, vectors: Vectors, values: NDArray[np.float64]) -> None:
        """Note the values, and move the swarm when all its particles have one."""
        indices = np.arange(self._next, self._next + len(vectors))
        better = values < self._best_values[indices]
        self._bests[indices[better]] = vectors[better]
        self._best_values[indices[better]] = values[better]
        self._next += len(vectors)
        if self._next == self._count:
            self._move()
            self._next = 0

    def _move(self) -> None:
        leader = self._bests[int(np.argmin(self._best_values))]
        pulls = self._rng.random((2, *self._places.shape))
        towards_own = self._shortest(self._bests - self._places)
        towards_leader = self._shortest(leader - self._places)
        speeds = self.INERTIA * self._speeds + self.PULL * (pulls[0] * towards_own + pulls[1] * towards_leader)
        self._speeds = np.clip(speeds, -self.LARGEST_STEP, self.LARGEST_STEP)
        moved = self._places + self._speeds
        self._places = np.where(self._space.periodic, moved % 1.0, np.clip(moved, 0.0, 1.0))

    def _shortest(self, steps: Vectors) -> Vectors:
        return np.where(self._space.periodic, steps - np.round(steps), steps)


class TreeParzen:
    """Bayesian optimisation by a tree of Parzen estimators, with hyperopt.

    Bergstra et al., NIPS 2011; hyperopt: Bergstra, Yamins, Cox, ICML 2013. It receives a number of random vectors
    first. A suggestion takes longer with every known vector, so histories are kept short.
    """

    STARTUP_SHARE = 0.3
    STARTUP_LIMITS = (5, 20)
    """Fraction of the trials that are random, and its limits."""

    def __init__(self, space: SearchSpace, trials: int, rng: np.random.Generator) -> None:
        from hyperopt import Trials, hp
        from hyperopt.base import Domain

        self._space, self._rng = space, rng
        least, most = self.STARTUP_LIMITS
        self._startup = int(np.clip(round(self.STARTUP_SHARE * trials), least, most))
        self._names = [f"x{i:04d}" for i in range(space.size)]
        self._domain = Domain(None, {name: hp.uniform(name, 0, 1) for name in self._names})
        self._trials: Any = Trials()
        self._told = 0

    def ask(self, most: int) -> Vectors:
        """Return a batch of random vectors, later one suggestion."""
        if self._told < self._startup:
            count = min(most, BATCH, self._startup - self._told)
            return np.array([self._space.sample(self._rng) for _ in range(count)])
        from hyperopt import tpe

        (document,) = tpe.suggest(
            self._trials.new_trial_ids(1),
            self._domain,
            self._trials,
            int(self._rng.integers(2**31 - 1)),
            n_startup_jobs=0,
            verbose=False,
        )
        return np.array([[document["misc"]["vals"][name][0] for name in self._names]])

    def tell(self, vectors: Vectors, values: NDArray[np.float64]) -> None:
        """Add vectors with their values to the history."""
        from hyperopt.base import JOB_STATE_DONE, STATUS_OK

        trials = self._trials
        ids = trials.new_trial_ids(len(vectors))
        results: list[Any] = []
        miscs: list[Any] = []
        for number, vector, value in zip(ids, vectors, values, strict=True):
            results.append({"status": STATUS_OK, "loss": float(value)})
            indices = {name: [number] for name in self._names}
            chosen = {name: [float(x)] for name, x in zip(self._names, vector, strict=True)}
            miscs.append({"tid": number, "cmd": self._domain.cmd, "idxs": indices, "vals": chosen})
        documents = trials.new_trial_docs(ids, [None] * len(ids), results, miscs)
        for document in documents:
            document["state"] = JOB_STATE_DONE
        trials.insert_trial_docs(documents)
        trials.refresh()
        self._told += len(vectors)


OPTIMISERS: MappingProxyType[str, Callable[[SearchSpace, int, np.random.Generator], Optimiser]] = MappingProxyType(
    {"random": RandomSearch, "swarm": ParticleSwarm, "tpe": TreeParzen}
)
"""Optimisers by name; each is made from a space, a number of trials and a random generator."""


def minimise(
    optimiser: Optimiser, objective: Callable[[Vectors], NDArray[np.float64]], trials: int
) -> tuple[Vectors, NDArray[np.float64]]:
    """Evaluate what an optimiser proposes.

    Args:
        optimiser: a new optimiser.
        objective: value of each vector, (k, size) to (k,).
        trials: number of vectors to evaluate.

    Returns:
        All vectors in the order of their evaluation, shape (trials, size), and their values, shape (trials,).
    """
    vectors, values = [], []
    left = trials
    while left > 0:
        asked = optimiser.ask(left)
        found = objective(asked)
        optimiser.tell(asked, found)
        vectors.append(asked)
        values.append(found)
        left -= len(asked)
    return np.concatenate(vectors), np.concatenate(values)
