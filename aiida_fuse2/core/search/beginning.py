"""New structures among the trials: the initial population, new starts beside the walk, and those of moves 13 and 14."""

from __future__ import annotations

from collections import Counter

import numpy as np
from ase import Atoms

from aiida_fuse2.core.crystal.symmetry import SymmetryError
from aiida_fuse2.core.errors import GenerationError, MoveError
from aiida_fuse2.core.generators import GeneratorContext, single_generator
from aiida_fuse2.core.rng import Purpose

from .choosing import Choices
from .draft import Draft
from .pool import ORIGIN
from .starts import POOL, next_turn, pool_generators, population_shares

MAX_SIZES = 4
"""Largest number of sizes that are tried for one new structure."""


class NewStructures:
    """Makes new structures, from the pool or with generators that need no job."""

    def __init__(self, draft: Draft, choices: Choices) -> None:
        self.draft = draft
        self.choices = choices
        self.settings = draft.settings
        self._sizes: dict[int, int] = {}

    # --- for moves ----------------------------------------------------------------------------------

    def begin_trial(self) -> None:
        """Forget the sizes of the last trial."""
        self._sizes.clear()

    def for_move(self, max_atoms: int, rng: np.random.Generator) -> Atoms:
        """Return a structure from pool or random generator with equal chance.

        All attempts at a trial have the same size: otherwise small cells, which are refused less often, would be
        preferred.
        """
        drawn = self._from_pool(max_atoms) if rng.random() < 0.5 else None
        if drawn is not None:
            return drawn
        if max_atoms not in self._sizes:
            self._sizes[max_atoms] = self.choices.size(self._fitting(max_atoms), rng)
        return self._generated(self.settings.random_generator, self._sizes[max_atoms], rng)

    def _fitting(self, max_atoms: int) -> list[int]:
        """Return the numbers of formula units that a new structure may have."""
        return self.draft.unit.z_values(max_atoms)

    def _from_pool(self, max_atoms: int) -> Atoms | None:
        pool = self.draft.proposal.pool
        if pool is None:
            return None
        return pool.draw_at_random(max_atoms) if self.settings.pool.draw == "random" else pool.draw(max_atoms)

    def _generated(self, name: str, z: int, rng: np.random.Generator) -> Atoms:
        draft, n_atoms = self.draft, z * self.draft.unit.n_atoms
        context = GeneratorContext(
            unit=draft.unit, radii=draft.radii, ap=draft.ap, max_atoms=n_atoms, min_atoms=n_atoms
        )
        atoms = single_generator(name)(context, rng)
        atoms.info[ORIGIN] = name
        return atoms

    # --- trials -------------------------------------------------------------------------------------

    def add_population(self, size: int) -> None:
        """Add the initial population.

        Structures of the user come first. The generators follow in turns: the pool's best, and new ones of those that
        need no job. The random generator makes what the pool lacks.
        """
        shares, taken = population_shares(self.settings), Counter[str]()
        for trial in range(size):
            source, is_given = next_turn(shares, taken), self._is_given_next()
            self._add(POOL if is_given else source, trial % self.settings.walkers, trial)
            taken[source] += not is_given

    def add_start(self, walker: int, trial: int) -> None:
        """Add a new structure as a trial of a walker; it has no move and no parent. Those of the user come first."""
        source = self.choices.source(self.draft.stream(Purpose.CHOOSE, walker, trial, 1))
        self._add(POOL if self._is_given_next() else source, walker, trial)

    def _is_given_next(self) -> bool:
        """Return whether the next structure of the pool is one that the user gave, not one of the search's own job."""
        pool = self.draft.proposal.pool
        origin = None if pool is None else pool.next_origin(self._limit)
        return origin is not None and origin not in pool_generators(self.settings)

    @property
    def _limit(self) -> int:
        """Largest number of atoms of a new structure of this generation."""
        return self.settings.initial_limit if self.draft.state.generation == 0 else self.settings.max_atoms

    def _add(self, source: str, walker: int, trial: int) -> None:
        """Add a new structure; a size is drawn once and kept, until all attempts at it have failed."""
        rng = self._stream(Purpose.CHOOSE, walker, trial, 2)
        fits, attempt = self._fitting(self._limit), 0
        for _ in range(min(MAX_SIZES, len(fits))):
            z = self.choices.size(fits, rng)
            for _ in range(self.settings.max_attempts):
                if self._try(source, z, walker, trial, attempt):
                    return
                attempt += 1
            self.draft.reject("gave_up_size")
            fits.remove(z)

    def _try(self, source: str, z: int, walker: int, trial: int, attempt: int) -> bool:
        draft, limit = self.draft, self._limit
        rng = self._stream(Purpose.INITIAL, walker, trial, attempt)
        try:
            atoms = self._drawn(limit) if source == POOL else None
            name = self.settings.random_generator if source == POOL else source
            start = draft.prepare(self._generated(name, z, rng) if atoms is None else atoms, rng)
        except (GenerationError, SymmetryError, MoveError) as error:
            draft.reject(error.reason)
            return False
        refusal = draft.refusal(start.atoms, limit)
        if refusal is not None:
            draft.reject(refusal)
            return False
        draft.add(start, walker=walker, trial=trial, attempt=attempt)
        return True

    def _stream(self, purpose: Purpose, walker: int, trial: int, attempt: int) -> np.random.Generator:
        """Return a random generator; the initial population does not depend on the number of walkers."""
        is_first = self.draft.state.generation == 0
        return self.draft.stream(purpose, 0 if is_first else walker, trial, attempt)

    def _drawn(self, limit: int) -> Atoms | None:
        """Return the next structure of the pool; the initial population takes the best."""
        pool = self.draft.proposal.pool
        if self.draft.state.generation == 0:
            return None if pool is None else pool.draw(limit)
        return self._from_pool(limit)
