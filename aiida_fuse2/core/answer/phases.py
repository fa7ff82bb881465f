"""Phases: structures whose answers cannot be told apart are one phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .ladder import Rung, choose, rms_displacement
from .settings import AnswerSettings


@dataclass(frozen=True, eq=False)
class Phase:
    """Structures with one answer.

    Attributes:
        members: labels of the structures, lowest energy first.
        rungs: all rungs of their ladders.
        answer: index of the answer among the rungs.
        source: label of the structure with that rung, and its index in the ladder of that structure.
    """

    members: tuple[str, ...]
    rungs: tuple[Rung, ...]
    answer: int
    source: tuple[str, int]

    @property
    def energy(self) -> float:
        """Enthalpy of the answer, eV/atom."""
        return self.rungs[self.answer].energy


def merge_phases(ladders: Mapping[str, Sequence[Rung]], settings: AnswerSettings) -> list[Phase]:
    """Return the phases of structures, that of lowest energy first.

    Args:
        ladders: rungs of each structure by its label.
        settings: settings of the answer.
    """
    phases: list[Phase] = []
    singles = [_phase({label: rungs}, settings) for label, rungs in ladders.items() if rungs]
    for single in sorted(singles, key=lambda phase: (phase.energy, phase.members)):
        equal = next((i for i, phase in enumerate(phases) if are_one(phase, single, settings)), None)
        if equal is None:
            phases.append(single)
        else:
            members = (*phases[equal].members, *single.members)
            phases[equal] = _phase({label: ladders[label] for label in members}, settings)
    return sorted(phases, key=lambda phase: (phase.energy, phase.members))


def are_one(a: Phase, b: Phase, settings: AnswerSettings) -> bool:
    """Return whether the answers of two phases cannot be told apart by energy and displacement."""
    first, second = a.rungs[a.answer], b.rungs[b.answer]
    if abs(first.energy - second.energy) > settings.energy:
        return False
    parent, other = sorted((first, second), key=lambda rung: -rung.order)
    if len(other.atoms) % len(parent.atoms):
        return False
    moved = rms_displacement(other.atoms, parent.atoms)
    return moved is not None and moved <= settings.max_displacement


def _phase(ladders: Mapping[str, Sequence[Rung]], settings: AnswerSettings) -> Phase:
    places = [(label, index) for label, rungs in ladders.items() for index in range(len(rungs))]
    rungs = tuple(ladders[label][index] for label, index in places)
    answer = choose(rungs, settings)
    return Phase(members=tuple(ladders), rungs=rungs, answer=answer, source=places[answer])
