"""Explored structures and targets of a search in the graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from aiida import orm

from aiida_fuse2.core.search.trials import generation_of_label

from .chain import segments
from .links import EARLIEST_FIRST, STRUCTURE_LINK, TARGETS_LINK


def find_structures(search: int, labels: Sequence[str]) -> dict[str, str]:
    """Return the UUIDs of explored structures of a search by the label of their trial.

    Args:
        search: primary key of the search.
        labels: labels of the trials; of this search, or of those that it continues from.

    Raises:
        CyclicSearchError: if a search continues from itself.
    """
    if not labels:
        return {}
    chain = segments(search)
    by_search: dict[int, list[str]] = defaultdict(list)
    for label in labels:
        generation = generation_of_label(label)
        owner = next((s.search for s in chain if s.holds(generation)), None)
        if owner is not None:  # else it belongs to a search that is not in this profile
            by_search[owner].append(label)
    found: dict[str, str] = {}
    for owner, own in by_search.items():
        found |= _find_own_structures(owner, own)
    return found


def _find_own_structures(search: int, labels: Sequence[str]) -> dict[str, str]:
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"id": search}, tag="search")
    builder.append(orm.ProcessNode, with_incoming="search", tag="job")  # a job, or tiers
    builder.append(
        orm.StructureData,
        with_incoming="job",
        edge_filters={"label": {"in": [STRUCTURE_LINK + label for label in labels]}},
        edge_project="label",
        project="uuid",
        tag="structure",
    )
    builder.order_by({"structure": EARLIEST_FIRST})  # the newest, if a step ran twice
    return {label.removeprefix(STRUCTURE_LINK): uuid for uuid, label in builder.iterall()}


def explored_structures(search: int) -> dict[str, dict[str, Any]]:
    """Return ``pk`` and ``uuid`` of the explored structures of a chain by label, duplicates included.

    Args:
        search: primary key of the search.

    Raises:
        CyclicSearchError: if a search continues from itself.
    """
    found: dict[str, dict[str, Any]] = {}
    for segment in segments(search):
        builder = orm.QueryBuilder()
        builder.append(orm.WorkChainNode, filters={"id": segment.search}, tag="search")
        builder.append(orm.ProcessNode, with_incoming="search", tag="job")  # a job, or tiers
        builder.append(
            orm.StructureData,
            with_incoming="job",
            edge_filters={"label": {"like": f"{STRUCTURE_LINK}g%"}},  # of trials; a relaxed target is not explored
            edge_project="label",
            project=["id", "uuid"],
            tag="structure",
        )
        builder.order_by({"structure": EARLIEST_FIRST})
        for pk, uuid, link in builder.all():
            label = link.removeprefix(STRUCTURE_LINK)
            if segment.holds(generation_of_label(label)):
                found[label] = {"pk": pk, "uuid": uuid}
    return found


def given_targets(search: int, *, project: Sequence[str] = ()) -> list[list[Any]]:
    """Return the name of each target that a search was given, followed by what is projected of its structure.

    Args:
        search: primary key of the search.
        project: projections of a QueryBuilder.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
    edge = {"label": {"like": f"{TARGETS_LINK}__%"}}
    builder.append(
        orm.StructureData, with_outgoing="search", edge_filters=edge, edge_project="label", project=list(project)
    )
    start = f"{TARGETS_LINK}__"
    return sorted(([label.removeprefix(start), *values] for *values, label in builder.all()), key=lambda row: row[0])
