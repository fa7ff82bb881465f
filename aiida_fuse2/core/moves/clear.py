"""Trials that are worth relaxing: beyond the paper, where most trials of many moves have short contacts."""

from __future__ import annotations

from functools import wraps

import numpy as np
from ase import Atoms

from aiida_fuse2.core.crystal.contacts import pushed_apart, shortfall
from aiida_fuse2.core.crystal.slicing import SlicedStructure, assemble
from aiida_fuse2.core.crystal.uniqueness import FINGERPRINT_STOL, are_equal
from aiida_fuse2.core.errors import MoveError

from .base import MoveContext, MoveFunction, make_crystal

DRAWS = 4
"""Number of trials drawn, of which the one with the mildest contacts is taken."""


def cleared(function: MoveFunction) -> MoveFunction:
    """Return a move whose trials are not their parent and have no short contacts: the first such of a few draws.

    If there is none, atoms are pushed apart in the one with the mildest contacts, and its cell grows where there is no
    room otherwise. The paper's moves (``context.plain``) stay as they are.
    """

    @wraps(function)
    def move(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
        if context.plain:
            return function(sliced, context, rng)
        parent = assemble(sliced)
        drawn: list[tuple[float, Atoms]] = []
        failure = MoveError("short_contact")
        for _ in range(DRAWS):
            try:
                trial = function(sliced, context, rng)
            except MoveError as error:
                failure = error
                continue
            short = shortfall(trial, context.least_of(trial.numbers))
            if short:
                drawn.append((short, trial))
            elif not are_equal(trial, parent, stol=FINGERPRINT_STOL):
                return trial
            else:
                failure = MoveError("equal_to_parent")
        for _, trial in sorted(drawn, key=lambda each: each[0]):
            pushed = pushed_apart(trial, context.least_of(trial.numbers), rng)
            if pushed is not None:
                return make_crystal(pushed.numbers, pushed.cell.scaled_positions(pushed.positions), pushed.cell.array)
        raise failure

    return move
