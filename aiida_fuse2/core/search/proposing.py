"""The trials of a generation: the initial population, rattled copies, and the walkers' moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from aiida_fuse2.core.crystal.slicing import SlicedStructure, slice_structure
from aiida_fuse2.core.crystal.symmetry import (
    SymmetryError,
    doubled_cells,
    find_symmetry,
    primitive_cell,
    rattle,
    slicing_cell,
    symmetrise,
)
from aiida_fuse2.core.crystal.uniqueness import are_equal
from aiida_fuse2.core.crystal.validity import check_validity, has_sound_cell
from aiida_fuse2.core.errors import GenerationError, MoveError
from aiida_fuse2.core.generators import PROTOTYPE, GeneratorContext, single_generator
from aiida_fuse2.core.moves import NEW_STRUCTURE, Move, MoveContext, get_move, ordered
from aiida_fuse2.core.rng import Purpose, keyed_generator
from aiida_fuse2.core.settings import RANDOM_GENERATORS, SearchSettings

from .pool import ORIGIN, PoolReader
from .starts import POOL, next_turn, pool_generators, population_shares
from .state import FollowUp, SearchState, Walker
from .trials import RATTLE, Trial, TrialInfo, trial_label

SYMMETRIC_SYMPREC = 1e-3
"""Tolerance for the symmetry that a generated structure was built with, Å."""


@dataclass
class Proposal:
    """The trials of one generation, and the counts of drawing them.

    Attributes:
        trials: trials in the order of their creation.
        rejections: number of attempts that gave no trial, by reason.
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


class Proposer:
    """Makes the trials of one generation; every random number comes from a keyed generator."""

    def __init__(self, settings: SearchSettings, state: SearchState, pool: PoolReader | None) -> None:
        self.settings = settings
        self.state = state
        self.proposal = Proposal(pool=pool)
        self.unit = settings.unit
        self.radii = settings.resolved_radii
        self.ap = settings.ap

    # --- structures -------------------------------------------------------------------------------

    def random_structure(self, max_atoms: int, rng: np.random.Generator) -> Atoms:
        """Return a structure from the random generator of the settings."""
        return self._generated(self.settings.random_generator, max_atoms, rng)

    def _generated(self, name: str, max_atoms: int, rng: np.random.Generator) -> Atoms:
        context = GeneratorContext.of(
            self.settings, self.settings.validity, max_atoms=max_atoms, known=self.settings.known
        )
        atoms = single_generator(name)(context, rng)
        atoms.info[ORIGIN] = name
        return atoms

    def new_structure(self, max_atoms: int, rng: np.random.Generator) -> Atoms:
        """Return a structure from pool or random generator with equal chance (for moves that draw from the pool)."""
        use_pool = rng.random() < 0.5
        pool = self.proposal.pool
        if use_pool and pool is not None:
            drawn = pool.draw_at_random(max_atoms) if self.settings.pool.draw == "random" else pool.draw(max_atoms)
            if drawn is not None:
                return drawn
        return self.random_structure(max_atoms, rng)

    def refusal(self, atoms: Atoms, max_atoms: int) -> str | None:
        """Return why a structure is not worth relaxing, or None."""
        return check_validity(
            atoms, unit=self.unit, radii=self.radii, max_atoms=max_atoms, settings=self.settings.validity
        )

    def prepare(self, atoms: Atoms, rng: np.random.Generator, *, keep_lattice: bool = False) -> Start:
        """Return the structure to relax for a structure that a move or a generator made.

        A structure from a pool keeps its symmetry, if it has any, in its primitive cell. Any other, as those of moves
        and of random generators, is symmetrised, reduced to its primitive cell (unless the lattice is to be kept) and
        rattled.

        Raises:
            SymmetryError: if spglib fails.
            MoveError: if the cell is not usable.
        """
        if not has_sound_cell(atoms):
            raise MoveError("bad_cell")
        origin = str(atoms.info.get(ORIGIN, "move"))
        bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
        if origin not in {"move", *RANDOM_GENERATORS}:
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

    # --- initial population -----------------------------------------------------------------------

    def add_population(self, size: int) -> None:
        """Add the initial population.

        Structures of the user come first. The generators follow in turns: the pool's best, and new ones of those that
        need no job. The random generator makes what the pool lacks.
        """
        shares, taken = population_shares(self.settings), Counter[str]()
        for trial in range(size):
            source = next_turn(shares, taken)
            for attempt in range(self.settings.max_attempts):
                is_given = self._is_given_next()
                if self._try_initial(trial, attempt, POOL if is_given else source):
                    break
            taken[source] += not is_given

    def _is_given_next(self) -> bool:
        """Return whether the next structure of the pool is one that the user gave, not one of the search's own job."""
        pool = self.proposal.pool
        origin = None if pool is None else pool.next_origin(self.settings.initial_limit)
        return origin is not None and origin not in pool_generators(self.settings)

    def _try_initial(self, trial: int, attempt: int, source: str) -> bool:
        limit = self.settings.initial_limit
        rng = self.stream(Purpose.INITIAL, 0, trial, attempt)
        pool = self.proposal.pool
        name = self.settings.random_generator if source == POOL else source
        try:
            atoms = pool.draw(limit) if pool is not None and source == POOL else None
            start = self.prepare(self._generated(name, limit, rng) if atoms is None else atoms, rng)
        except (GenerationError, SymmetryError, MoveError) as error:
            self.proposal.rejections[error.reason] += 1
            return False
        refusal = self.refusal(start.atoms, limit)
        if refusal is not None:
            self.proposal.rejections[refusal] += 1
            return False
        self.add(start, walker=trial % self.settings.walkers, trial=trial, attempt=attempt)
        return True

    # --- rattled copies ---------------------------------------------------------------------------

    def add_followups(self, followups: Sequence[FollowUp], structures: Mapping[str, Atoms]) -> None:
        """Add rattled copies of structures that were relaxed with their symmetry.

        One in the cell itself and, if the settings say so and the atoms fit, one in each doubled cell
        that is not equivalent to another one by symmetry. Their trial numbers follow those of the walker's own trials.
        """
        counts: Counter[int] = Counter()
        for followup in followups:
            for cell in self._cells_to_rattle(structures[followup.label]):
                trial = self.settings.trials_per_step + counts[followup.walker]
                rng = self.stream(Purpose.PREPARE, followup.walker, trial)
                start = Start(rattle(cell, self.settings.symmetry.rattle, rng), RATTLE, symmetric=False)
                self.add(start, walker=followup.walker, trial=trial, attempt=0, parent=followup.label)
                counts[followup.walker] += 1

    def _cells_to_rattle(self, atoms: Atoms) -> list[Atoms]:
        symmetry = self.settings.symmetry
        tight = symmetry.report_symprec[0]
        cells = [atoms]
        try:
            primitive = primitive_cell(atoms, tight)
            if symmetry.rattle_doubled and 2 * len(primitive) <= self.settings.max_atoms:
                cells += doubled_cells(primitive, tight)
        except SymmetryError as error:
            self.proposal.rejections[error.reason] += 1
        return cells

    # --- moves ------------------------------------------------------------------------------------

    def add_walker_trial(self, index: int, trial: int, current: Atoms | None) -> None:
        """Add one trial of a walker; after ``max_attempts`` failures a new structure takes its place."""
        walker = self.state.walkers[index]
        sliced = None if current is None else self._slice(current)
        for attempt in range(self.settings.max_attempts):
            rng = self.stream(Purpose.MOVE, index, trial, attempt)
            move = NEW_STRUCTURE if sliced is None else self._draw_move(walker, sliced, rng)
            if self._try_move(move, sliced, current, walker=index, trial=trial, attempt=attempt, rng=rng):
                return
        attempt = self.settings.max_attempts
        rng = self.stream(Purpose.MOVE, index, trial, attempt)
        self._try_move(NEW_STRUCTURE, None, None, walker=index, trial=trial, attempt=attempt, rng=rng)

    def _slice(self, current: Atoms) -> SlicedStructure | None:
        try:
            cell = slicing_cell(current, self.settings.symmetry.symprec, self.settings.max_atoms)
        except SymmetryError:
            cell = current
        return slice_structure(cell, self.ap)

    def _context(self) -> MoveContext:
        return MoveContext(
            unit=self.unit,
            ap=self.ap,
            max_atoms=self.settings.max_atoms,
            exclusion=self.settings.exclusion,
            new_structure=self.new_structure,
        )

    def _draw_move(self, walker: Walker, sliced: SlicedStructure, rng: np.random.Generator) -> Move:
        weights = self.settings.move_weights
        if walker.thermostat.is_melted(self.settings.acceptance):
            weights = self.settings.melted_move_weights or weights
        context = self._context()
        weighted = [get_move(name) for name in ordered(weights) if weights[name] > 0]
        fitting = [move for move in weighted if not move.contradicts(self.settings.known)]
        usable = [move for move in fitting if move.applicable(sliced, context)]
        if not usable:
            return NEW_STRUCTURE
        chances = np.array([weights[move.name] for move in usable])
        return usable[int(rng.choice(len(usable), p=chances / chances.sum()))]

    def _try_move(
        self,
        move: Move,
        sliced: SlicedStructure | None,
        current: Atoms | None,
        *,
        walker: int,
        trial: int,
        attempt: int,
        rng: np.random.Generator,
    ) -> bool:
        """Make one attempt at a trial; return whether it gave one."""
        try:
            if sliced is None:
                made = self.new_structure(self.settings.max_atoms, rng)
            else:
                made = move.function(sliced, self._context(), rng)
            start = self.prepare(
                made, self.stream(Purpose.PREPARE, walker, trial, attempt), keep_lattice=move.keeps_lattice
            )
        except (GenerationError, SymmetryError, MoveError) as error:
            self.proposal.rejections[error.reason] += 1
            return False
        refusal = self.refusal(start.atoms, self.settings.max_atoms)
        if refusal is None and current is not None and not move.keeps_lattice:
            refusal = "equal_to_parent" if self._equals(made, current) else None
        if refusal is not None:
            self.proposal.rejections[str(refusal)] += 1
            return False
        parent = "" if move.draws_from_pool else str(self.state.walkers[walker].current or "")
        self.add(start, walker=walker, trial=trial, attempt=attempt, move=move.name, parent=parent)
        return True

    def _equals(self, made: Atoms, current: Atoms) -> bool:
        return are_equal(made, current, stol=self.settings.uniqueness.stol)


def propose(
    settings: SearchSettings, state: SearchState, structures: Mapping[str, Atoms], pool: PoolReader | None
) -> Proposal:
    """Return the trials of the next generation.

    Args:
        settings: settings of the search.
        state: state after the last generation.
        structures: relaxed structures by label: the walkers' current ones and those to be rattled.
        pool: waiting structures, or None; drawn structures are taken from it.

    Returns:
        At most as many trials as the budget allows: in generation 0 the initial population; later
        the rattled copies first, then the walkers' trials in turn.
    """
    proposer = Proposer(settings, state, pool)
    proposal = proposer.proposal
    budget = settings.max_structures - state.tried
    if state.generation == 0:
        proposer.add_population(min(settings.population_size, budget))
        proposal.cut = settings.population_size > budget
        return proposal
    proposer.add_followups(state.followups, structures)
    for trial in range(settings.trials_per_step):
        for index, walker in enumerate(state.walkers):
            if len(proposal.trials) >= budget:
                proposal.cut = True
                break
            current = structures[walker.current] if walker.current is not None else None
            proposer.add_walker_trial(index, trial, current)
    proposal.cut |= len(proposal.trials) > budget
    del proposal.trials[budget:]
    return proposal
