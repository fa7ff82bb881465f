"""The answer of a search: one row for each phase, with everything that is told about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ase import Atoms

from aiida_fuse2.core.errors import storable
from aiida_fuse2.core.prototypes.naming import TypeName

from .description import Description, describe_phase
from .ladder import Ladder, choose
from .phases import Phase, merge_phases
from .settings import AnswerSettings
from .statement import statement

LOST = "job_ended_early"
"""Status of a structure for which its jobs gave no result."""

BEFORE = ("label", "rank", "energy", "found")
"""Values of a structure in the ranking that it comes from."""


def phase_label(position: int) -> str:
    """Return the label of the phase at a position, from 0."""
    return f"p{position:02d}"


TEXTS = ("label", "formula", "spacegroup_symbol", "type", "statement")
"""Texts of the row of a phase that tables and files show."""

NUMBERS = ("rank", "delta", "energy", "spacegroup", "n_atoms", "n_atoms_conventional", "z", "density", "found")
"""Its numbers."""


def readable_rows(rows: Any, texts: Sequence[str], numbers: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return stored rows whose texts can be shown; none of them if one is not what it should be.

    Args:
        rows: anything, as an archive may hold it.
        texts: names of their texts.
        numbers: names of their numbers.
    """
    try:
        found = storable(rows)
    except ValueError:
        return []
    is_right = isinstance(found, list) and all(
        isinstance(row, dict)
        and all(isinstance(row.get(name), str) for name in texts)
        and all(isinstance(row.get(name), int | float) for name in numbers)
        for row in found
    )
    return found if is_right else []


def readable_sites(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the Wyckoff positions of a stored row; none of them if one is not what it should be.

    Args:
        row: row of a phase. In answers of earlier versions positions have no ``moment``.
    """
    found = readable_rows(row.get("sites"), ("element", "letter", "coordination"), ("multiplicity",))
    is_right = all(
        isinstance(site.get("coordinates"), list)
        and len(site["coordinates"]) == 3
        and all(isinstance(x, int | float) for x in site["coordinates"])
        and isinstance(site.get("moment"), int | float | None)
        for site in found
    )
    return [{"moment": None, **site} for site in found] if is_right else []


@dataclass(frozen=True, eq=False)
class Answer:
    """What a search ends with.

    Attributes:
        phases: a row of plain values for each phase, lowest energy first.
        cells: conventional cell of each, by its label.
        failed: label, status and detail of each structure without an answer.
    """

    phases: list[dict[str, Any]]
    cells: dict[str, Atoms]
    failed: list[dict[str, str]]


def conclude(
    before: Mapping[str, Mapping[str, Any]],
    ladders: Mapping[str, Ladder],
    settings: AnswerSettings,
    name: Callable[[Atoms], TypeName],
) -> Answer:
    """Return the answer from the ladders of structures.

    Args:
        before: row of each structure in the ranking that it comes from, by label: see ``BEFORE``.
        ladders: ladder of each structure, as far as there is one.
        settings: settings of the answer.
        name: returns the type of a structure.
    """
    phases = merge_phases({label: ladder.rungs for label, ladder in ladders.items()}, settings)
    rows: list[dict[str, Any]] = []
    cells: dict[str, Atoms] = {}
    for position, phase in enumerate(phases):
        answer = phase.rungs[phase.answer]
        described = describe_phase(answer.atoms, answer.moments)
        label = phase_label(position)
        cells[label] = described.conventional
        place = {"rank": position + 1, "label": label, "delta": phase.energy - phases[0].energy}
        named = name(described.primitive)
        rows.append(place | _row(phase, described, named, before=before, ladders=ladders, settings=settings))
    failed = [
        {"label": label, "status": ladders[label].status, "detail": ladders[label].detail}
        if label in ladders
        else {"label": label, "status": LOST, "detail": ""}
        for label in before
        if label not in ladders or not ladders[label].rungs
    ]
    return Answer(rows, cells, failed)


def _row(
    phase: Phase,
    described: Description,
    name: TypeName,
    *,
    before: Mapping[str, Mapping[str, Any]],
    ladders: Mapping[str, Ladder],
    settings: AnswerSettings,
) -> dict[str, Any]:
    source = ladders[phase.source[0]]
    stability = source.stability if choose(source.rungs, settings) == phase.source[1] else None
    primitive = described.primitive
    return {
        "energy": phase.energy,
        **described.values,
        "type": name.text,
        "prototype": name.key,
        "found": sum(int(before[label]["found"]) for label in phase.members),
        "statement": statement(
            phase.rungs, phase.answer, settings, name=name.text, stability=stability, program=source.program
        ),
        "stability": None if stability is None else stability.to_dict(),
        "fmax": source.fmax,
        "potential": source.potential,
        "source": phase.source[0],
        "members": [{"member": label, **{key: before[label][key] for key in BEFORE}} for label in phase.members],
        "rungs": [
            {"member": label, "is_answer": (label, index) == phase.source, **rung.to_dict()}
            for label in phase.members
            for index, rung in enumerate(ladders[label].rungs)
        ],
        "primitive": {
            "symbols": [str(symbol) for symbol in primitive.symbols],
            "cell": primitive.cell.array.tolist(),
            "scaled_positions": primitive.get_scaled_positions().tolist(),
        },
    }
