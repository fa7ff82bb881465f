"""Moves 13 and 14: a new structure in place of the current one, from the pool or a random generator."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from aiida_fuse2.core.crystal.slicing import SlicedStructure
from aiida_fuse2.core.errors import GenerationError, MoveError

from .base import MoveContext, make_crystal


def new_of_this_size(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
    """Move 13: a new structure of at most as many atoms as the current one."""
    return _new(len(sliced), context, rng)


def new_of_any_size(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:  # noqa: ARG001
    """Move 14: a new structure of at most as many atoms as the search allows."""
    return _new(context.max_atoms, context, rng)


def _new(max_atoms: int, context: MoveContext, rng: np.random.Generator) -> Atoms:
    try:
        made = context.new_structure(max_atoms, rng)
    except GenerationError as error:
        raise MoveError(error.reason, error.detail) from error
    trial = make_crystal(made.numbers, made.cell.scaled_positions(made.positions), made.cell.array)
    trial.info.update(made.info)  # the generator that made it
    return trial
