"""How a trial is made: as a new structure or by a move; which generator, which size, which move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor

import numpy as np

from aiida_fuse2.core.moves import Move, get_move, ordered
from aiida_fuse2.core.rng import Purpose, keyed_generator
from aiida_fuse2.core.settings import SearchSettings

from .policy import Kind, weights
from .starts import population_shares
from .state import SearchState, Walker


class Choices:
    """The decisions on how the trials of a generation are made; settings and policy give the chances."""

    def __init__(self, settings: SearchSettings, state: SearchState) -> None:
        self.settings = settings
        self.state = state

    def is_new(self, walker: int, trial: int) -> bool:
        """Return whether a trial is a new structure, without a move: by turns, which begin anywhere for each walker."""
        share = self.settings.new_share
        begin = keyed_generator(self.settings.seed, Purpose.TURN, walker=walker).random()
        turn = (self.state.generation - 1) * self.settings.trials_per_step + trial
        return floor((turn + 1) * share + begin) > floor(turn * share + begin)

    def source(self, rng: np.random.Generator) -> str:
        """Return which generator makes a new structure, or ``POOL``, with the chances of their shares."""
        shares = population_shares(self.settings)
        return self._drawn("generator", {name: shares[name] for name in sorted(shares)}, rng)

    def size(self, fits: Sequence[int], rng: np.random.Generator) -> int:
        """Return the number of formula units of a new structure, one of those that fit."""
        return int(self._drawn("size", {str(z): float(z) ** -self.settings.size_bias for z in fits}, rng))

    def weighted_moves(self, walker: Walker) -> list[Move]:
        """Return the moves that a walker may make: those that have a weight and keep what is known of the structure."""
        weights = self._weights(walker)
        moves = [get_move(name) for name in ordered(weights) if weights[name] > 0]
        return [move for move in moves if not move.contradicts(self.settings.known)]

    def move(self, usable: Sequence[Move], walker: Walker, rng: np.random.Generator) -> Move:
        """Return one of the usable moves, with the chances of their weights."""
        own = self._weights(walker)
        name = self._drawn("move", {move.name: own[move.name] for move in usable}, rng)
        return next(move for move in usable if move.name == name)

    def _weights(self, walker: Walker) -> Mapping[str, float]:
        settings = self.settings
        melted = settings.melted_move_weights if walker.thermostat.is_melted(settings.acceptance) else None
        return melted or settings.move_weights

    def _drawn(self, kind: Kind, prior: Mapping[str, float], rng: np.random.Generator) -> str:
        """Return one of several names, with the chances that the policy gives them."""
        found = weights(kind, prior, self.state.learned, self.settings, rng)
        chances = np.array(list(found.values()))
        return list(found)[int(rng.choice(len(chances), p=chances / chances.sum()))]
