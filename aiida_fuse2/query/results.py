"""What has results: a search, or a refinement of structures of searches. Both are read here, in the same form.

Several runs of a search have the results of each; ``ranking`` puts them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from aiida import orm
from numpy.typing import NDArray

from aiida_fuse2.calculations.conversions import explored_of_records, history_rows, rank
from aiida_fuse2.core.crystal.uniqueness import decode_fingerprint, fingerprint
from aiida_fuse2.core.search.refining import tried_rows
from aiida_fuse2.core.search.targets import ExploredStructure
from aiida_fuse2.core.settings import SearchSettings

from .chain import GenerationRecord, generation_records
from .loading import (
    PROCESS_TYPE,
    NoSearchError,
    is_runs,
    load_search,
    load_search_or_runs,
    runs_settings,
    search_settings,
    with_callers,
)
from .refinements import is_refinement, load_refinement
from .structures import explored_structures

SEARCH, REFINEMENT = "search", "refinement"
"""What a process with results is, for people; several runs are of a search."""

EXPECTED = "a search or a refinement"
"""What a message says that a node should have been."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """The results of a search or a refinement, whether it runs or has ended.

    Attributes:
        node: the process.
        settings: settings of the search; those of the first search whose structures a refinement has.
        rows: a row per structure tried, as ``conversions.history_rows`` has them. Those of a refinement also have
            ``rank_before``, ``energy_before`` (eV/atom, of the potential of the search), and the space group before.
        known: ``pk`` and ``uuid`` of the relaxed structures by label; an archive may lack some. Those of a refinement
            also have ``search``, ``pk_before`` and ``uuid_before``: the search, and the structure there.
        records: generations of the search; none of a refinement.
    """

    node: orm.WorkChainNode
    settings: SearchSettings
    rows: Sequence[dict[str, Any]]
    known: Mapping[str, dict[str, Any]]
    records: Sequence[GenerationRecord] = ()

    @cached_property
    def ranked(self) -> list[dict[str, Any]]:
        """The unique structures, lowest energy first; the rows of ``query.ranked``."""
        missing = {"pk": None, "uuid": None}
        return [row | self.known.get(row["label"], missing) for row in rank(self.rows, self.settings.unit)]

    @cached_property
    def explored(self) -> list[ExploredStructure]:
        """The structures that are here and have a fingerprint, in the order they were tried."""
        if is_refinement(self.node):
            return [
                ExploredStructure(row["label"], row["number"], row["energy"], self.fingerprint(row["label"]))
                for row in self.rows
                if row["label"] in self.known
            ]
        explored = explored_of_records(record.columns for record in self.records)
        return [structure for structure in explored if structure.label in self.known]

    def fingerprint(self, label: str) -> NDArray[Any]:
        """Return the fingerprint of a structure by its label, shape (36,)."""
        if is_refinement(self.node):
            return fingerprint(orm.load_node(self.known[label]["pk"]).get_ase())
        return decode_fingerprint(self._fingerprints[label])

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        return {
            label: text
            for record in self.records
            for label, text in zip(record.columns["label"], record.columns["fingerprint"], strict=True)
        }


def kind_of(node: orm.WorkChainNode) -> str:
    """Return whether a process is a search (or several runs of one) or a refinement, as a word."""
    return REFINEMENT if is_refinement(node) else SEARCH


def load_results(identifier: int | str | None = None) -> orm.WorkChainNode:
    """Return a search, several runs of one, or a refinement, by primary key or UUID (or its beginning).

    By default the newest search or runs of the profile.

    Raises:
        NoSearchError: if there is no such node, or it is none of these.
    """
    refinement = None if identifier is None else load_refinement(str(identifier))
    return load_search_or_runs(identifier, expected=EXPECTED) if refinement is None else refinement


def load_single_results(identifier: int | str | None = None) -> orm.WorkChainNode:
    """As ``load_results``, without several runs of a search.

    Raises:
        NoSearchError: if there is no such node, or it is neither a search nor a refinement.
    """
    refinement = None if identifier is None else load_refinement(str(identifier))
    return load_search(identifier, expected=EXPECTED) if refinement is None else refinement


def settings_of(node: orm.WorkChainNode) -> SearchSettings:
    """Return the settings of a search, of run 0, or of the first search whose structures a refinement has.

    Raises:
        NoSearchError: if the search of a refinement is not in this profile.
    """
    if is_runs(node):
        return runs_settings(node)
    return search_settings(refined_searches(node)[0] if is_refinement(node) else node)


def refined_searches(refinement: orm.WorkChainNode) -> list[orm.WorkChainNode]:
    """Return the searches whose structures a refinement has, each once, in the order of the structures.

    Raises:
        NoSearchError: if none of them is in this profile.
    """
    found = {search.pk: search for _, search in _before(refinement).values() if search is not None}
    if not found:
        raise NoSearchError(f"the search whose structures refinement {refinement.pk} has is not in this profile")
    return list(found.values())


def read_results(node: orm.WorkChainNode) -> Results:
    """Return the results of a search or a refinement; a refinement has none before its end.

    Args:
        node: search or refinement, running or ended.

    Raises:
        NoSearchError: if the search of a refinement is not in this profile.
    """
    if not is_refinement(node):
        records = generation_records(node.pk)
        rows = history_rows(record.columns for record in records)
        known = explored_structures(node.pk)
        return Results(node=node, settings=search_settings(node), rows=rows, known=known, records=records)
    return Results(
        node=node,
        settings=settings_of(node),
        rows=tried_rows(node.outputs.ranked["structures"]) if "ranked" in node.outputs else [],
        known=_refined_structures(node),
    )


def _refined_structures(refinement: orm.WorkChainNode) -> dict[str, dict[str, Any]]:
    """Return the values of ``Results.known`` of a refinement."""
    after = dict(refinement.outputs.structures.items()) if "structures" in refinement.outputs else {}
    before = _before(refinement) if after else {}
    known: dict[str, dict[str, Any]] = {}
    for label, node in after.items():
        structure, search = before[label]
        known[label] = {
            "pk": node.pk,
            "uuid": node.uuid,
            "search": None if search is None else search.pk,
            "pk_before": structure.pk,
            "uuid_before": structure.uuid,
        }
    return known


def _before(refinement: orm.WorkChainNode) -> dict[str, tuple[orm.StructureData, orm.WorkChainNode | None]]:
    """Return the structure that a refinement began with, and its search, by label."""
    given = dict(refinement.inputs.structures.items()) if "structures" in refinement.inputs else {}
    return {label: (node, search_of_structure(node)) for label, node in sorted(given.items())}


def search_of_structure(structure: orm.StructureData) -> orm.WorkChainNode | None:
    """Return the search that made a structure, or None."""
    return next((one for one in with_callers(structure.creator) if one.process_type == PROCESS_TYPE), None)
