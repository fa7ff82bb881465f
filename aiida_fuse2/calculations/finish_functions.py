"""The calcfunction of finishing searches. AiiDA's caching hashes this file: it only converts nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiida import orm
from aiida.engine import calcfunction
from ase import Atoms

from aiida_fuse2.core.answer.answers import conclude
from aiida_fuse2.core.answer.ladder import Ladder, idealise
from aiida_fuse2.core.answer.results import read_ladder
from aiida_fuse2.core.answer.second import FIRST, SECOND, Relaxed, rank_phases
from aiida_fuse2.core.answer.settings import AnswerSettings
from aiida_fuse2.core.prototypes.library import anonymous_counts
from aiida_fuse2.core.prototypes.naming import TypeIndex, TypeName
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.io.prototypes import library_from_text, prototypes_of
from aiida_fuse2.io.trials import from_extxyz, trials_from_text

RESULTS_PREFIX = "results_"
RUNGS_PREFIX = "rungs_"
RELAXED_PREFIX = "relaxed_"

ANSWER = "answer"

PHASE_EXTRAS = ("energy", "delta", "n_atoms", "spacegroup", "spacegroup_symbol", "type", "prototype", "found")
"""Values of a phase that its structure has as an extra."""

EXTRAS_KEY = "fuse2_phase"


@calcfunction
def conclude_answer(
    settings: orm.Dict,
    selection: orm.Dict,
    relax: orm.Dict,
    trials: orm.SinglefileData,
    software: orm.Dict,  # noqa: ARG001 - part of the hash
    **others: orm.Data,
) -> dict[str, orm.Data]:
    """Return the phases of finished structures (``fuse2.conclude_answer``).

    Args:
        settings: settings of the answer.
        selection: row of each structure in the ranking that it comes from, by label.
        relax: settings of the tier.
        trials: structures, as the search relaxed them.
        software: versions of the packages that this runs with.
        others: ``results_NN`` and ``rungs_NN`` of each attempt; the library ``prototypes``, if there is one; where the
            tier is that of another program, so that there are no attempts, its name as ``program``.

    Returns:
        ``answer``: ``phases`` and ``failed``, see ``core.answer.answers``; the conventional cell of each phase by its
        label.
    """
    parsed = parse_settings(AnswerSettings, settings.get_dict())
    results: dict[str, Any] = {}
    frames: dict[str, list[Atoms]] = {}
    for name, node in sorted(others.items()):
        if name.startswith(RESULTS_PREFIX):
            results |= node["by_label"]
        elif name.startswith(RUNGS_PREFIX):
            for frame in from_extxyz(node.get_content()):
                frames.setdefault(str(frame.info["label"]), []).append(frame)
    starts = {trial.info.label: trial.atoms for trial in trials_from_text(trials.get_content())}
    values = relax.get_dict()
    if "program" in others:
        ladders = _idealised(starts, selection.get_dict(), values, parsed, others["program"].value)
    else:
        ladders = {
            label: read_ladder(row, frames.get(label, []), starts[label], str(values["calculator"]))
            for label, row in results.items()
        }
    answer = conclude(selection.get_dict(), ladders, parsed, _namer(others, next(iter(starts.values()), None)))
    return {
        ANSWER: orm.Dict({"phases": answer.phases, "failed": answer.failed}),
        **_structures(answer.phases, answer.cells),
    }


@calcfunction
def rank_answer(
    settings: orm.Dict,
    answer: orm.Dict,
    potentials: orm.Dict,
    software: orm.Dict,  # noqa: ARG001 - part of the hash
    **others: orm.Data,
) -> dict[str, orm.Data]:
    """Return an answer ordered by a second potential, as far as it can be (``fuse2.rank_answer``).

    Args:
        settings: settings of the answer.
        answer: that of ``conclude_answer``.
        potentials: names of the ``first`` and the ``second``, and the ``reason`` why the second gave no results.
        software: versions of the packages that this runs with.
        others: conventional cell of each phase by its label, ``results_NN`` and ``relaxed_NN`` of each attempt of the
            second, and the library ``prototypes``, if there is one.

    Returns:
        ``answer`` with ``order``, see ``core.answer.second``; the conventional cells, if they are those of the second.
    """
    parsed = parse_settings(AnswerSettings, settings.get_dict())
    values, names = answer.get_dict(), potentials.get_dict()
    results: dict[str, Any] = {}
    geometries: dict[str, Atoms] = {}
    for link, node in sorted(others.items()):
        if link.startswith(RESULTS_PREFIX):
            results |= node["by_label"]
        elif link.startswith(RELAXED_PREFIX):
            geometries |= {str(frame.info["label"]): frame for frame in from_extxyz(node.get_content())}
    cells = {row["label"]: others[row["label"]].get_ase() for row in values["phases"]}
    ranked = rank_phases(
        values["phases"],
        cells,
        Relaxed(rows=results, geometries=geometries, reason=names["reason"]),
        _namer(others, next(iter(cells.values()))),
        potentials=(names[FIRST], names[SECOND]),
        resolution=parsed.energy,
    )
    content = orm.Dict({**values, "phases": ranked.phases, "order": ranked.order})
    is_second = ranked.order["by"] == SECOND
    return {ANSWER: content, **(_structures(ranked.phases, ranked.cells) if is_second else {})}


def _namer(others: Mapping[str, orm.Data], atoms: Atoms | None) -> Callable[[Atoms], TypeName]:
    """Return what names structures with the composition of one by the library ``prototypes``, if there is one."""
    library = []
    if "prototypes" in others and atoms is not None:
        text = prototypes_of(others["prototypes"].get_content(), anonymous_counts(atoms))
        library = library_from_text(text)
    return TypeIndex(library).name


def _structures(rows: list[dict[str, Any]], cells: Mapping[str, Atoms]) -> dict[str, orm.StructureData]:
    """Return the conventional cell of each phase by its label."""
    outputs = {}
    for row in rows:
        node = orm.StructureData(ase=cells[row["label"]])
        node.label = f"{row['formula']} {row['spacegroup_symbol']}"
        node.base.extras.set(EXTRAS_KEY, {key: row[key] for key in PHASE_EXTRAS})
        outputs[row["label"]] = node
    return outputs


def _idealised(
    starts: Mapping[str, Atoms],
    rows: Mapping[str, Mapping[str, Any]],
    tier: Mapping[str, Any],
    settings: AnswerSettings,
    program: str,
) -> dict[str, Ladder]:
    """Return the ladders of structures whose energies come from another program than the worker."""
    limits = {"max_tolerance": float(tier["report_symprec"][1]), "fmax": float(tier.get("fmax") or 0.0)}
    return {
        label: idealise(atoms, float(rows[label]["energy"]), settings, program=program, **limits)
        for label, atoms in starts.items()
    }
