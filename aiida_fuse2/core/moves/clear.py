"""Trials without short contacts: beyond the paper, where most trials of many moves are refused for them."""

from __future__ import annotations

from functools import wraps

import numpy as np
from ase import Atoms

from aiida_fuse2.core.crystal.contacts import pushed_apart, shortfall
from aiida_fuse2.core.crystal.slicing import SlicedStructure
from aiida_fuse2.core.errors import MoveError

from .base import MoveContext, MoveFunction, make_crystal

DRAWS = 4
"""Number of trials drawn, of which the one with the mildest contacts is taken."""


def cleared(function: MoveFunction) -> MoveFunction:
    """Return a move whose trials have no short contacts: the first such of a few draws.

    If all of them have some, the atoms of the one with the mildest are pushed apart, and its cell grows where there is
    no room otherwise. The paper's moves (``context.plain``) stay as they are.
    """

    @wraps(function)
    def move(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
        if context.plain:
            return function(sliced, context, rng)
        drawn: list[tuple[float, Atoms]] = []
        failure = MoveError("short_contact")
        for _ in range(DRAWS):
            try:
                trial = function(sliced, context, rng)
            except MoveError as error:
                failure = error
                continue
            drawn.append((shortfall(trial, context.least_of(trial.numbers)), trial))
            if not drawn[-1][0]:
                return trial
        for _, trial in sorted(drawn, key=lambda each: each[0]):
            pushed = pushed_apart(trial, context.least_of(trial.numbers), rng)
            if pushed is not None:
                return make_crystal(pushed.numbers, pushed.cell.scaled_positions(pushed.positions), pushed.cell.array)
        raise failure

    return move
