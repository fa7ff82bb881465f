"""The trials of a generation: the initial population, rattled copies, and the walkers' trials."""

from __future__ import annotations

from collections.abc import Mapping

from ase import Atoms

from aiida_fuse2.core.crystal.slicing import SlicedStructure, slice_structure
from aiida_fuse2.core.crystal.symmetry import SymmetryError, slicing_cell
from aiida_fuse2.core.crystal.uniqueness import are_equal
from aiida_fuse2.core.crystal.validity import contact_thresholds
from aiida_fuse2.core.errors import GenerationError, MoveError
from aiida_fuse2.core.moves import Move, MoveContext
from aiida_fuse2.core.rng import Purpose
from aiida_fuse2.core.settings import SearchSettings

from .beginning import NewStructures
from .choosing import Choices
from .draft import Draft, Proposal
from .followups import add_followups
from .pool import PoolReader
from .state import SearchState, Walker

__all__ = ["Proposal", "Proposer", "propose"]

ROOM = 3.0
"""Room for the rattling that moves leave between atoms, in units of its width."""


class Proposer:
    """Makes the trials of the walkers in one generation."""

    def __init__(
        self, settings: SearchSettings, state: SearchState, pool: PoolReader | None, structures: Mapping[str, Atoms]
    ) -> None:
        self.settings = settings
        self.state = state
        self.structures = structures
        self.draft = Draft(settings, state, pool)
        self.choices = Choices(settings, state)
        self.new = NewStructures(self.draft, self.choices)

    def add_walker_trial(self, index: int, trial: int) -> None:
        """Add one trial of a walker.

        A move is drawn once, and every attempt makes it: drawing another after a failure would prefer those that
        seldom fail. Another one is drawn after ``max_attempts`` failures. A walker without a structure gets new ones,
        and so does one for which no move is left.
        """
        label = self.state.walkers[index].current
        if label is None or self.choices.is_new(index, trial):
            self.new.add_start(index, trial)
        elif not self._add_move(index, trial, self.structures[label]):
            self.draft.reject("no_move")
            self.new.add_start(index, trial)

    def _add_move(self, index: int, trial: int, current: Atoms) -> bool:
        """Add a trial made by a move; return whether there is one."""
        walker = self.state.walkers[index]
        sliced, context = self._slice(current, walker), self._context(index)
        usable = [move for move in self.choices.weighted_moves(walker) if move.applicable(sliced, context)]
        rng, attempt = self.draft.stream(Purpose.CHOOSE, index, trial), 0
        while usable:
            move = self.choices.move(usable, walker, rng)
            self.new.begin_trial()
            for _ in range(self.settings.max_attempts):
                if self._try_move(move, sliced, current, context, walker=index, trial=trial, attempt=attempt):
                    return True
                attempt += 1
            self.draft.reject(f"gave_up_move_{move.name}")
            usable.remove(move)
        return False

    def _slice(self, current: Atoms, walker: Walker) -> SlicedStructure:
        """Return the structure of a walker in sub-modules; that of a supercell is not reduced."""
        if walker.supercell:
            return slice_structure(current, self.draft.ap)
        try:
            cell = slicing_cell(current, self.settings.symmetry.symprec, self.settings.max_atoms)
        except SymmetryError:
            cell = current
        return slice_structure(cell, self.draft.ap)

    def _context(self, index: int) -> MoveContext:
        """Return the context of the moves of a walker."""
        room = ROOM * self.settings.symmetry.rattle
        least = contact_thresholds(list(self.draft.unit.elements), self.draft.radii, self.settings.validity)
        others = [walker.current for k, walker in enumerate(self.state.walkers) if k != index]
        return MoveContext(
            unit=self.draft.unit,
            ap=self.draft.ap,
            max_atoms=self.settings.max_atoms,
            exclusion=self.settings.exclusion,
            contacts={pair: distance + room for pair, distance in least.items()},
            symprec=self.settings.symmetry.symprec,
            new_structure=self.new.for_move,
            others=[self.structures[label] for label in others if label is not None],
        )

    def _try_move(
        self,
        move: Move,
        sliced: SlicedStructure,
        current: Atoms,
        context: MoveContext,
        *,
        walker: int,
        trial: int,
        attempt: int,
    ) -> bool:
        """Make one attempt at a trial; return whether it gave one."""
        draft = self.draft
        prepared = draft.stream(Purpose.PREPARE, walker, trial, attempt)
        try:
            made = move.function(sliced, context, draft.stream(Purpose.MOVE, walker, trial, attempt))
            start = draft.prepare(made, prepared, keep_lattice=move.keeps_lattice)
        except (GenerationError, SymmetryError, MoveError) as error:
            draft.reject(error.reason)
            return False
        refusal = draft.refusal(start.atoms, self.settings.max_atoms)
        if refusal is None and not move.keeps_lattice and self._equals(made, current):
            refusal = "equal_to_parent"
        if refusal is not None:
            draft.reject(refusal)
            return False
        parent = "" if move.draws_from_pool else str(self.state.walkers[walker].current or "")
        draft.add(start, walker=walker, trial=trial, attempt=attempt, move=move.name, parent=parent)
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
    proposer = Proposer(settings, state, pool, structures)
    proposal = proposer.draft.proposal
    budget = settings.max_structures - state.tried
    if state.generation == 0:
        proposer.new.add_population(min(settings.population_size, budget))
        proposal.cut = settings.population_size > budget
        return proposal
    add_followups(proposer.draft, state.followups, structures)
    for trial in range(settings.trials_per_step):
        for index in range(len(state.walkers)):
            if len(proposal.trials) >= budget:
                proposal.cut = True
                break
            proposer.add_walker_trial(index, trial)
    proposal.cut |= len(proposal.trials) > budget
    del proposal.trials[budget:]
    return proposal
