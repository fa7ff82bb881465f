"""The trials of a generation while they are made: checks, preparation for relaxing, random numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from aiida_fuse2.core.crystal.symmetry import find_symmetry, primitive_cell, rattle, symmetrise
from aiida_fuse2.core.crystal.validity import check_validity, has_sound_cell
from aiida_fuse2.core.errors import MoveError
from aiida_fuse2.core.generators import PROTOTYPE
from aiida_fuse2.core.rng import Purpose, keyed_generator
from aiida_fuse2.core.settings import SearchSettings

from .pool import ORIGIN, PoolReader
from .state import SearchState
from .trials import Trial, TrialInfo, trial_label

SYMMETRIC_SYMPREC = 1e-3
"""Tolerance for the symmetry that a generated structure was built with, Å."""

WITHOUT_SYMMETRY = frozenset({"move", "fgen", "fgen_paper"})
"""Origins of structures whose symmetry, if they have any, is an accident."""


@dataclass
class Proposal:
    """The trials of one generation, and the counts of drawing them.

    Attributes:
        trials: trials in the order of their creation.
        rejections: number of attempts that gave no trial, by reason; and of what was given up after several attempts.
        pool: the pool after the draws, or None if the search has none.
        cut: whether the budget of structures was too small for all trials of the generation.
    """

    trials: list[Trial] = field(default_factory=list)
    rejections: Counter[str] = field(default_factory=Counter)
    pool: PoolReader | None = None
    cut: bool = False


@dataclass(frozen=True)
class Start:
    """A structure before it is relaxed, whether it keeps its symmetry, and the decorated prototype that it is."""

    atoms: Atoms
    origin: str
    symmetric: bool
    prototype: str = ""


class Draft:
    """The proposal of one generation while it is made; every random number comes from a keyed generator."""

    def __init__(self, settings: SearchSettings, state: SearchState, pool: PoolReader | None) -> None:
        self.settings = settings
        self.state = state
        self.proposal = Proposal(pool=pool)
        self.unit = settings.unit
        self.radii = settings.resolved_radii
        self.ap = settings.ap

    def reject(self, reason: str) -> None:
        """Count an attempt that gave no trial."""
        self.proposal.rejections[str(reason)] += 1

    def refusal(self, atoms: Atoms, max_atoms: int) -> str | None:
        """Return why a structure is not worth relaxing, or None."""
        return check_validity(
            atoms, unit=self.unit, radii=self.radii, max_atoms=max_atoms, settings=self.settings.validity
        )

    def prepare(self, atoms: Atoms, rng: np.random.Generator, *, keep_lattice: bool = False) -> Start:
        """Return the structure to relax for a structure that a move or a generator made.

        A structure of a generator keeps its symmetry, if it has any, in its primitive cell. Any other, as those of
        moves and of ``fgen``, is symmetrised, reduced to its primitive cell (unless the lattice is to be kept) and
        rattled.

        Raises:
            SymmetryError: if spglib fails.
            MoveError: if the cell is not usable.
        """
        if not has_sound_cell(atoms):
            raise MoveError("bad_cell")
        origin = str(atoms.info.get(ORIGIN, "move"))
        bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
        if origin not in WITHOUT_SYMMETRY:
            kept = primitive_cell(bare, SYMMETRIC_SYMPREC)
            symmetric = find_symmetry(kept, SYMMETRIC_SYMPREC).n_rotations > 1
            return Start(kept, origin, symmetric, str(atoms.info.get(PROTOTYPE, "")))
        symmetry = self.settings.symmetry
        if symmetry.symmetrise and not keep_lattice:
            bare = symmetrise(bare, symmetry.symprec)
        return Start(rattle(bare, symmetry.rattle, rng), origin, symmetric=False)

    def add(self, start: Start, *, walker: int, trial: int, attempt: int, move: str = "", parent: str = "") -> None:
        """Add a trial to the proposal."""
        label = trial_label(self.state.generation, walker, trial)
        info = TrialInfo(
            label=label,
            generation=self.state.generation,
            walker=walker,
            trial=trial,
            attempt=attempt,
            move=move,
            origin=start.origin,
            parent=parent,
            symmetric_start=start.symmetric,
            prototype=start.prototype,
        )
        self.proposal.trials.append(Trial(info, start.atoms))

    def stream(self, purpose: Purpose, walker: int, trial: int, attempt: int = 0) -> np.random.Generator:
        """Return the random generator of one decision of this generation."""
        return keyed_generator(
            self.settings.seed,
            purpose,
            walker=walker,
            generation=self.state.generation,
            trial=trial,
            attempt=attempt,
        )
