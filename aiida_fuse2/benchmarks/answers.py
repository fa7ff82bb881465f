"""The answer of structures in this process, without AiiDA: what finishing a search gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ase import Atoms

from aiida_fuse2.core.answer.answers import Answer, conclude
from aiida_fuse2.core.answer.ladder import EXACT, climb
from aiida_fuse2.core.answer.settings import AnswerSettings
from aiida_fuse2.core.crystal.protostructure import protostructure_label
from aiida_fuse2.core.crystal.symmetry import primitive_cell
from aiida_fuse2.core.potentials.evaluation import Evaluator
from aiida_fuse2.core.prototypes.naming import TypeIndex, TypeName
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.protocols import protocol_inputs

from .lowest import geometry
from .results import FoundStructure

PROTOCOL = "finish"
"""Name of the protocol of finishing."""


def finish(
    structures: Sequence[tuple[Atoms, float]],
    evaluator: Evaluator,
    tier: RelaxSettings,
    name: Callable[[Atoms], TypeName],
    *,
    stability: bool = True,
) -> tuple[Answer, float]:
    """Return the answer of structures and its CPU time, s, with the settings of the protocol of finishing.

    Args:
        structures: different structures as a search has relaxed them, each with its energy (eV/atom), lowest first.
            Those beyond the number and the energy window of the protocol are left out.
        evaluator: from ``make_evaluator``.
        tier: settings of the tier that relaxed them.
        name: returns the type of a structure.
        stability: whether to examine the stability of small cells.
    """
    inputs = protocol_inputs(None, None, name=PROTOCOL)
    settings = parse_settings(AnswerSettings, inputs["settings"])
    if not stability:
        settings = settings.model_copy(update={"stability_atoms": 0})
    chosen = [one for one in structures[: inputs["best"]] if one[1] <= structures[0][1] + inputs["window"]]
    before = {
        f"{rank:02d}": {"label": f"{rank:02d}", "rank": rank, "energy": energy, "found": 1}
        for rank, (_, energy) in enumerate(chosen, start=1)
    }
    ladders = {label: climb(atoms, evaluator, tier, settings) for label, (atoms, _) in zip(before, chosen, strict=True)}
    answer = conclude(before, ladders, settings, name)
    return answer, sum(ladder.cpu_seconds for ladder in ladders.values())


def finished_structures(
    lowest: Sequence[FoundStructure], evaluator: Evaluator, tier: RelaxSettings, types: TypeIndex | None
) -> tuple[list[FoundStructure], float]:
    """Return the phases among the structures of a row, lowest first, and their CPU time, s.

    A phase has the origin of its structure; its energy and geometry are those of the answer. Stability is not examined.

    Args:
        lowest: structures of a row, lowest first.
        evaluator: from ``make_evaluator``.
        tier: settings of the tier that relaxed them.
        types: types of a library, or None if there is no library.
    """
    index = TypeIndex([]) if types is None else types
    structures = [(one.atoms(), one.energy) for one in lowest]
    answer, seconds = finish(structures, evaluator, tier, index.name, stability=False)
    phases = []
    for row in answer.phases:
        atoms = answer.cells[row["label"]]
        changes = {
            "energy": round(row["energy"], 6),
            "spacegroup": row["spacegroup"],
            "spacegroup_loose": row["spacegroup"],
            "protostructure": protostructure_label(atoms, EXACT) or "",
            "type": row["type"] if types is not None else "",
            "places": sorted(member["rank"] for member in row["members"]),
            **geometry(primitive_cell(atoms, EXACT)),
        }
        phases.append(lowest[int(row["source"]) - 1].model_copy(update=changes))
    return phases, seconds
