"""The calcfunctions of refining the results of searches. AiiDA's caching hashes this file: it only converts nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from aiida import orm
from aiida.engine import calcfunction
from ase import Atoms

from aiida_fuse2.core.answer.ladder import EXACT
from aiida_fuse2.core.crystal.symmetry import SymmetryError, primitive_cell
from aiida_fuse2.core.crystal.uniqueness import match_reduced, reduce_structure
from aiida_fuse2.core.prototypes.library import Prototype, anonymous_counts
from aiida_fuse2.core.search.refining import RefineSettings, rank_refined, refined_trial
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.io.names import TRIALS_FILE
from aiida_fuse2.io.prototypes import library_from_text, prototypes_of
from aiida_fuse2.io.trials import from_extxyz, trials_to_text

from .conversions import namer

RESULTS_PREFIX = "results_"
RELAXED_PREFIX = "relaxed_"


@calcfunction
def trials_of_structures(selection: orm.Dict, **structures: orm.StructureData) -> orm.SinglefileData:
    """Return explored structures as trials (``fuse2.trials_of_structures``).

    Args:
        selection: row of each structure in the ranking that it comes from, by label; ``primitive`` is there and true
            if the primitive cell is wanted.
        structures: structures by the same labels.
    """
    rows = selection.get_dict()
    trials = [
        refined_trial(name, _cell(structures[name], rows[name]), rows[name]["label"]) for name in sorted(structures)
    ]
    return orm.SinglefileData.from_string(trials_to_text(trials), filename=TRIALS_FILE)


def _cell(structure: orm.StructureData, row: Mapping[str, Any]) -> Atoms:
    atoms = structure.get_ase()
    with suppress(SymmetryError):
        return primitive_cell(atoms, EXACT) if row.get("primitive") else atoms
    return atoms


@calcfunction
def compare_refined(
    settings: orm.Dict,
    selection: orm.Dict,
    tier: orm.Dict,
    software: orm.Dict,  # noqa: ARG001 - part of the hash
    prototypes: orm.SinglefileData | None = None,
    **others: orm.Data,
) -> orm.Dict:
    """Rank and name structures after further tiers (``fuse2.compare_refined``).

    Args:
        settings: settings of the refinement.
        selection: row of each structure in the ranking that it comes from, by label.
        tier: settings of the last tier: structures are named at its loose tolerance.
        software: versions of the packages that this runs with.
        prototypes: library of structure types by which the structures are named.
        others: ``results_NN`` and ``relaxed_NN`` of each attempt.

    Returns:
        ``structures``: see ``core.refining.rank_refined``.
    """
    parsed = parse_settings(RefineSettings, settings.get_dict())
    results: dict[str, Any] = {}
    geometries: dict[str, Any] = {}
    for link, node in sorted(others.items()):
        if link.startswith(RESULTS_PREFIX):
            results |= node["by_label"]
        else:
            geometries |= {str(frame.info["label"]): frame for frame in from_extxyz(node.get_content())}

    @cache
    def reduced(label: str) -> Any:
        return reduce_structure(geometries[label])

    def same(a: str, b: str) -> bool:
        return match_reduced(reduced(a), reduced(b), stol=parsed.stol)

    name = namer(geometries, _types_of(geometries.values(), prototypes), tier["report_symprec"][1])
    return orm.Dict({"structures": rank_refined(selection.get_dict(), results, same, parsed, name=name)})


def _types_of(structures: Iterable[Atoms], library: orm.SinglefileData | None) -> list[Prototype] | None:
    """Return the prototypes of a library with the anonymous formula of structures, or None without a library."""
    if library is None:
        return None
    counts = next((anonymous_counts(atoms) for atoms in structures), ())
    return library_from_text(prototypes_of(library.get_content(), counts))
