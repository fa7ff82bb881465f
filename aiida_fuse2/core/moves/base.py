"""The common base of all moves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.crystal.slicing import SlicedStructure
from aiida_fuse2.core.settings import KnownSettings

WORD = re.compile(r"[a-z][a-z0-9_]*")
"""Name of a move that is not one of the paper's: the names of those are numbers."""


@dataclass(frozen=True, kw_only=True)
class MoveContext:
    """What a move may need besides the structure and its random generator.

    Attributes:
        unit: the composition.
        ap: module size, Å.
        max_atoms: largest number of atoms that the structure to be relaxed may have.
        exclusion: distance from every atom above which a site is vacant, Å; None if that depends on the elements.
        contacts: shortest distance of each pair of elements in a trial, Å, both orders: the limit of the validity
            checks, and room for the rattling.
        symprec: tolerance for the symmetry of the structure, Å.
        new_structure: makes a new structure of at most the given number of atoms, from the pool or the random
            generator; for moves that draw from the pool; raises ``GenerationError``.
        others: the current structures of the other walkers.
    """

    unit: FormulaUnit
    ap: float
    max_atoms: int
    exclusion: float | None
    contacts: Mapping[tuple[str, str], float]
    symprec: float
    new_structure: Callable[[int, np.random.Generator], Atoms]
    others: Sequence[Atoms] = ()

    @property
    def plain(self) -> bool:
        """Whether the moves are the paper's, with nothing added; a fixed ``exclusion`` says so."""
        return self.exclusion is not None

    @property
    def least(self) -> dict[tuple[int, int], float]:
        """``contacts`` by atomic number."""
        return {(atomic_numbers[a], atomic_numbers[b]): least for (a, b), least in self.contacts.items()}

    def least_of(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return ``contacts`` of each pair of atoms, shape (n, n).

        Args:
            numbers: atomic numbers, shape (n,).
        """
        kinds, of_kind = np.unique(numbers, return_inverse=True)
        least = self.least
        table = np.array([[least[int(a), int(b)] for b in kinds] for a in kinds])
        matrix: NDArray[np.float64] = table[np.ix_(of_kind, of_kind)]
        return matrix


class MoveFunction(Protocol):
    """Makes a trial structure from a sliced one, which it never changes."""

    def __call__(self, sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
        """Return the trial structure.

        Raises:
            MoveError: if this draw cannot be carried out.
        """


def suits_all(sliced: SlicedStructure, context: MoveContext) -> bool:  # noqa: ARG001
    """Return True: a move without special conditions can be used on every structure."""
    return True


@dataclass(frozen=True, kw_only=True)
class Move:
    """One move: the function that makes the trial, and its conditions.

    Attributes:
        name: name in ``move_weights`` and in results: the paper's number, or a word of
            lower-case letters, digits and ``_``.
        title: short description for tables.
        function: makes the trial.
        suits: whether it can be used on a structure, in addition to the flags.
        needs_species: whether it needs atoms of several species.
        room: smallest number of formula units that a trial has more than its parent.
        reshapes: whether the trial has another cell, of as many formula units.
        may_double: whether the trial may have twice the formula units of its parent, where they fit.
        keeps_lattice: whether the trial must keep its lattice when it is standardised, and may equal its parent.
        draws_from_pool: whether the trial is a new structure, from the pool or the random generator. It has no parent.
    """

    name: str
    title: str
    function: MoveFunction
    suits: Callable[[SlicedStructure, MoveContext], bool] = suits_all
    needs_species: bool = False
    room: int = 0
    reshapes: bool = False
    may_double: bool = False
    keeps_lattice: bool = False
    draws_from_pool: bool = False

    @property
    def full_name(self) -> str:
        """Name and title, for people."""
        return f"{self.name} {self.title}"

    def applicable(self, sliced: SlicedStructure, context: MoveContext) -> bool:
        """Return whether the move can be used on a structure at all."""
        if self.needs_species and not np.any(sliced.numbers != sliced.numbers[0]):
            return False
        if self.room and len(sliced) + self.room * context.unit.n_atoms > context.max_atoms:
            return False
        return self.suits(sliced, context)

    def contradicts(self, known: KnownSettings) -> bool:
        """Return whether the move leads away from what is known: from a cell, or to more formula units."""
        grows = self.room > 0 or self.may_double
        return (known.cell is not None and (self.reshapes or grows)) or (known.z is not None and grows)

    def obstacle(self, unit: FormulaUnit, max_atoms: int, known: KnownSettings) -> str | None:
        """Return why the move can be used on no structure of a composition, or None if it can.

        Args:
            unit: the composition.
            max_atoms: largest number of atoms of a structure.
            known: what is known of the structure.
        """
        if self.contradicts(known):
            return "with a known cell or Z"
        if self.needs_species and unit.is_element:
            return "for an element"
        if self.room and (1 + self.room) * unit.n_atoms > max_atoms:
            return f"with at most {max_atoms} atoms"
        return None


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
