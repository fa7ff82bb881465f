"""What every move has in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.crystal.slicing import SlicedStructure


@dataclass(frozen=True, kw_only=True)
class MoveContext:
    """What a move may need besides the structure and its random generator.

    Attributes:
        unit: the composition.
        ap: module size, Å.
        max_atoms: most atoms that the structure to be relaxed may have.
        exclusion: a place is vacant when it is further than this from every atom, Å.
        new_structure: makes a new structure of at most the given number of atoms (pool or random
            generator; moves 13 and 14); raises ``GenerationError``.
    """

    unit: FormulaUnit
    ap: float
    max_atoms: int
    exclusion: float
    new_structure: Callable[[int, np.random.Generator], Atoms]


class MoveFunction(Protocol):
    """Makes a trial structure from a sliced one, which it never changes."""

    def __call__(self, sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
        """Return the trial structure.

        Raises:
            MoveError: where this draw cannot be carried out.
        """


@dataclass(frozen=True, kw_only=True)
class Move:
    """One move.

    Attributes:
        number: the paper's number, 1 to 14.
        name: short name for tables.
        function: makes the trial.
        applicable: whether the move can be used on a structure at all.
        keeps_lattice: whether the trial must keep its lattice when it is standardised (11 and 12).
    """

    number: int
    name: str
    function: MoveFunction
    applicable: Callable[[SlicedStructure, MoveContext], bool]
    keeps_lattice: bool = False


def make_crystal(numbers: NDArray[np.int64], fractional: NDArray[np.float64], cell: NDArray[np.float64]) -> Atoms:
    """Return a periodic crystal with all atoms inside the cell.

    Args:
        numbers: atomic numbers, shape (n,).
        fractional: fractional coordinates, shape (n, 3), of any period.
        cell: lattice vectors as rows, Å, shape (3, 3).
    """
    wrapped = fractional - np.floor(fractional)
    wrapped[wrapped >= 1.0] = 0.0  # -1e-17 wraps to 1.0, which is the next cell's 0
    return Atoms(numbers=numbers, scaled_positions=wrapped, cell=cell, pbc=True)
