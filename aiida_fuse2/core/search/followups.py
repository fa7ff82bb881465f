"""Rattled copies of good structures, also in doubled cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ase import Atoms

from aiida_fuse2.core.crystal.symmetry import SymmetryError, doubled_cells, primitive_cell, rattle
from aiida_fuse2.core.rng import Purpose

from .draft import Draft, Start
from .state import FollowUp
from .trials import RATTLE, TrialInfo


def add_followups(draft: Draft, followups: Sequence[FollowUp], structures: Mapping[str, Atoms]) -> None:
    """Add rattled copies of structures, at most ``max_followups``.

    One in each doubled cell that is not equivalent to another one by symmetry, if the settings say so and the atoms
    fit; and one in the cell itself of a structure that was relaxed with its symmetry. Their trial numbers follow those
    of the walker's own trials.
    """
    counts: Counter[int] = Counter()
    for followup in followups:
        for cell in _cells_to_rattle(draft, followup, structures[followup.label]):
            if counts.total() == draft.settings.symmetry.max_followups:
                return
            trial = draft.settings.trials_per_step + counts[followup.walker]
            rng = draft.stream(Purpose.PREPARE, followup.walker, trial)
            start = Start(rattle(cell, draft.settings.symmetry.rattle_copies, rng), RATTLE, symmetric=False)
            draft.add(start, walker=followup.walker, trial=trial, attempt=0, parent=followup.label)
            counts[followup.walker] += 1


def _cells_to_rattle(draft: Draft, followup: FollowUp, atoms: Atoms) -> list[Atoms]:
    symmetry, known = draft.settings.symmetry, draft.settings.known
    is_fixed = known.z is not None or known.cell is not None
    cells = [atoms] if followup.symmetric else []
    try:
        primitive = primitive_cell(atoms, symmetry.report_symprec[0])
        if symmetry.rattle_doubled and not is_fixed and 2 * len(primitive) <= draft.settings.max_atoms:
            # a relaxed structure is symmetric only within the looser tolerance
            cells += doubled_cells(primitive, symmetry.symprec)
    except SymmetryError as error:
        draft.reject(error.reason)
    return cells


def left_waiting(followups: Sequence[FollowUp], trials: Sequence[TrialInfo], most: int) -> Sequence[FollowUp]:
    """Return the structures of which a generation had no rattled copies because it had enough of others.

    Args:
        followups: structures to be rattled, in their order.
        trials: trials of the generation.
        most: largest number of copies.
    """
    parents = [trial.parent for trial in trials if trial.origin == RATTLE]
    if not parents or len(parents) < most:
        return ()  # the others have no cells to rattle
    labels = [followup.label for followup in followups]
    return followups[labels.index(parents[-1]) + 1 :]
