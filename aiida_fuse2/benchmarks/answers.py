"""The answer of structures in this process, without AiiDA: what finishing a search gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ase import Atoms

from aiida_fuse2.core.answer.answers import Answer, conclude
from aiida_fuse2.core.answer.ladder import EXACT, climb
from aiida_fuse2.core.answer.settings import AnswerSettings
from aiida_fuse2.core.crystal.protostructure import protostructure_label
from aiida_fuse2.core.crystal.symmetry import SymmetryError, primitive_cell, symmetrise
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.evaluation import Evaluator
from aiida_fuse2.core.prototypes.naming import TypeIndex, TypeName
from aiida_fuse2.core.relaxers import evaluator_of, relax
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.protocols.models import find_model
from aiida_fuse2.worker.software import weights_versions

from .lowest import geometry
from .results import FoundStructure, PhaseEnergy, SecondOrder

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
            Those beyond the energy window of the protocol are left out.
        evaluator: from ``make_evaluator``.
        tier: settings of the tier that relaxed them.
        name: returns the type of a structure.
        stability: whether to examine the stability of small cells.
    """
    inputs = protocol_inputs(None, None, name=PROTOCOL)
    settings = parse_settings(AnswerSettings, inputs["settings"])
    if not stability:
        settings = settings.model_copy(update={"stability_atoms": 0})
    chosen = [one for one in structures if one[1] <= structures[0][1] + inputs["window"]]
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


def second_settings(name: str, tier: RelaxSettings) -> RelaxSettings:
    """Return the settings with which a second potential relaxes phases: those of the protocol of finishing.

    Args:
        name: name of the potential, as ``--second`` takes it.
        tier: settings of the tier of the search.

    Raises:
        InputError: if there is no such potential, or it is that of the search.
    """
    changes = protocol_inputs(None, None, name=PROTOCOL)["second"]["settings"]
    values = {**tier.model_dump(), **changes, **find_model(name).relax_settings}
    settings = parse_settings(RelaxSettings, values, where="relax.settings")
    if (settings.calculator, settings.model) == (tier.calculator, tier.model):
        raise InputError("--second", name, "is the potential of the search itself")
    return settings


def second_order(phases: Sequence[FoundStructure], name: str, tier: RelaxSettings) -> SecondOrder:
    """Return phases relaxed with a second potential, each within its symmetry.

    Args:
        phases: phases of an answer.
        name: name of the potential.
        tier: settings of the tier of the search.

    Raises:
        InputError: if the potential is not installed in this environment.
    """
    settings = second_settings(name, tier)
    versions, evaluator = weights_versions(settings), evaluator_of(settings)
    relaxed = [relax(_exact(phase.atoms(), tier), evaluator, settings) for phase in phases]
    return SecondOrder(
        potential=find_model(name).name,
        versions=versions,
        cpu_seconds=round(sum(one.values["cpu_seconds"] for one in relaxed), 2),
        phases=[
            PhaseEnergy(energy=round(one.values["energy"], 6), spacegroup_loose=one.values["spacegroup_loose"])
            if one.status == CONVERGED
            else PhaseEnergy(energy=None, spacegroup_loose=None)
            for one in relaxed
        ],
    )


def _exact(atoms: Atoms, tier: RelaxSettings) -> Atoms:
    """Return the primitive cell of a phase with its symmetry, which the digits of a row do not hold exactly."""
    try:
        return symmetrise(atoms, tier.report_symprec[0])
    except SymmetryError:
        return atoms
