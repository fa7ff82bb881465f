"""Reading the chain of generations of a search from the graph.

Questions follow the chain of states from the first to the last: a step that ran twice, because a
worker was killed in between, leaves a second branch that leads nowhere and is not counted. A search
that goes on from a state of another one has the other's generations up to that state before its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiida import orm

from aiida_fuse2.core.state import SearchState
from aiida_fuse2.core.trials import generation_of_label

STRUCTURE_LINK = "structures__"
"""Start of the link labels of explored structures, followed by the label of the trial."""


@dataclass(frozen=True)
class GenerationRecord:
    """One generation as the graph holds it.

    Attributes:
        record: UUID of the record node.
        before: UUID of the state node before the generation.
        state: UUID of the state node after the generation.
        columns: of the record.
        state_values: plain values of the state.
    """

    record: str
    before: str
    state: str
    columns: dict[str, list[Any]]
    state_values: dict[str, Any]

    @property
    def next_generation(self) -> int:
        """Index of the generation that follows."""
        return int(self.state_values["generation"])


@dataclass(frozen=True)
class Segment:
    """The generations of a chain that one search relaxed.

    Attributes:
        search: primary key of the search.
        first: index of its first generation.
        end_state: UUID of the state at which another search went on, or None where it is the last one.
        stop: index of the first generation that is not part of the chain, or None for the last search.
    """

    search: int
    first: int
    end_state: str | None = None
    stop: int | None = None

    def holds(self, generation: int) -> bool:
        """Tell whether a generation of the chain belongs to this search."""
        return generation >= self.first and (self.stop is None or generation < self.stop)


# --- the searches of a chain --------------------------------------------------------------------


def segments(search: int) -> list[Segment]:
    """Return the searches whose generations lead to this one, the earliest first, itself the last.

    Args:
        search: primary key of the search.
    """
    found: list[Segment] = []
    current, end_state, stop = search, None, None
    while True:
        start = _start_state(current)
        first = 0 if start is None else int(start[1])
        found.append(Segment(current, first, end_state, stop))
        made_by = None if start is None else state_maker(start[0])
        if made_by is None:
            return found[::-1]
        current, end_state = made_by
        stop = first


def _start_state(search: int) -> tuple[str, int] | None:
    """Return UUID and generation of the state that a search was given, or None."""
    builder = orm.QueryBuilder()
    builder.append(orm.Dict, project=["uuid", "attributes.generation"], tag="state")
    builder.append(orm.WorkChainNode, filters={"id": search}, with_incoming="state", edge_filters={"label": "state"})
    row = builder.first()
    return None if row is None else (row[0], row[1])


def state_maker(state: str) -> tuple[int, str] | None:
    """Return the search that decided on the generation before a state, and UUID of that decided state.

    A state that was made fit for other settings stands for the one that it was made from. None for a
    state before the first generation.

    Args:
        state: UUID of a state node.
    """
    while True:
        builder = orm.QueryBuilder()
        builder.append(orm.WorkChainNode, project="id", tag="search")
        builder.append(
            orm.CalcFunctionNode, with_incoming="search", project=["id", "attributes.process_label"], tag="maker"
        )
        builder.append(orm.Dict, filters={"uuid": state}, with_incoming="maker")
        row = builder.first()
        if row is None or row[2] == "begin":
            return None
        if row[2] == "decide":
            return row[0], state
        builder = orm.QueryBuilder().append(orm.CalcFunctionNode, filters={"id": row[1]}, tag="maker")
        builder.append(orm.Dict, with_outgoing="maker", edge_filters={"label": "state"}, project="uuid")
        state = builder.first(flat=True)


def state_settings(state: str) -> tuple[orm.Dict, orm.Dict] | None:
    """Return the settings of search and relaxation of the search that a state comes from.

    Args:
        state: UUID of a node.

    Returns:
        The nodes, or None where the node is not a state of a search.
    """
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"attributes.process_label": "Fuse2WorkChain"}, tag="search")
    builder.append(
        orm.CalcFunctionNode,
        with_incoming="search",
        filters={"attributes.process_label": {"in": ["begin", "decide", "resume"]}},
        tag="maker",
    )
    builder.append(orm.Dict, filters={"uuid": state}, with_incoming="maker", edge_filters={"label": {"!==": "record"}})
    builder.append(orm.Dict, with_outgoing="search", edge_filters={"label": "settings"}, project="*")
    builder.append(orm.Dict, with_outgoing="search", edge_filters={"label": "relax__settings"}, project="*")
    row = builder.first()
    return None if row is None else (row[0], row[1])


def pool_of_state(state: str) -> orm.SinglefileData | None:
    """Return the pool that a generation after a state draws from, or None where it has none.

    That of the generation proposed from this state, where one was; else that of the generation before,
    or the one that the search was given.

    Args:
        state: UUID of a state node.
    """
    builder = orm.QueryBuilder().append(orm.Dict, filters={"uuid": state}, tag="state")
    builder.append(
        orm.CalcFunctionNode,
        with_incoming="state",
        filters={"attributes.process_label": "propose"},
        project="*",
        tag="propose",
    )
    builder.order_by({"propose": {"id": "desc"}})
    propose = builder.first(flat=True)
    if propose is None:
        made_by = state_maker(state)
        if made_by is None:
            return _given_pool(state)
        propose = orm.load_node(made_by[1]).creator.inputs.proposal.creator
    return propose.inputs.pool if "pool" in propose.inputs else None


def _given_pool(first_state: str) -> orm.SinglefileData | None:
    """Return the pool given to the search that made a first state, or None."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, tag="search")
    builder.append(orm.CalcFunctionNode, with_incoming="search", tag="begin")
    builder.append(orm.Dict, filters={"uuid": first_state}, with_incoming="begin")
    builder.append(orm.SinglefileData, with_outgoing="search", edge_filters={"label": "pool"}, project="*")
    found: orm.SinglefileData | None = builder.first(flat=True)
    return found


# --- generations --------------------------------------------------------------------------------


def generation_records(search: int, end_state: str | None = None) -> list[GenerationRecord]:
    """Return the generations of a search in order, those of the searches that it goes on from included.

    Args:
        search: primary key of the search.
        end_state: UUID of the state of this search that they lead to; by default its last one. A search that comes back
            after a kill must name it: a decision that it does not know of may have been stored already.
    """
    *earlier, own = segments(search)
    chain = [*earlier, replace(own, end_state=end_state)]
    return [record for segment in chain for record in _segment_records(segment)]


def _segment_records(segment: Segment) -> list[GenerationRecord]:
    """Return the generations of one search that belong to a chain, following the surviving chain of states."""
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"id": segment.search}, tag="search")
    builder.append(
        orm.CalcFunctionNode,
        with_incoming="search",
        filters={"attributes.process_label": "decide"},
        project="id",
        tag="decide",
    )
    builder.append(orm.Dict, with_outgoing="decide", edge_filters={"label": "state"}, project="uuid", tag="before")
    builder.append(
        orm.Dict, with_incoming="decide", edge_filters={"label": "state"}, project=["uuid", "attributes"], tag="after"
    )
    builder.append(
        orm.Dict, with_incoming="decide", edge_filters={"label": "record"}, project=["uuid", "attributes"], tag="record"
    )
    builder.order_by({"decide": {"id": "asc"}})
    found = [
        GenerationRecord(record, before, after, columns, state)
        for _, before, after, state, record, columns in builder.iterall()
    ]
    return _surviving_chain(found, segment.end_state)


def _surviving_chain(found: Sequence[GenerationRecord], end_state: str | None) -> list[GenerationRecord]:
    """Return the chain that leads to a state; by default the longest one.

    Of branches from one state, the one that was continued survives; at the end of the chain the one decided last.
    """
    by_state = {record.state: record for record in found}
    if end_state is None:
        if not found:
            return []
        end_state = max(reversed(found), key=lambda record: record.next_generation).state
    chain = []
    while end_state in by_state:
        record = by_state[end_state]
        chain.append(record)
        end_state = record.before
    return chain[::-1]


def last_state(search: int) -> SearchState | None:
    """Return the state after the last generation of a search, or None before the first has ended."""
    records = generation_records(search)
    return SearchState.from_dict(records[-1].state_values) if records else None


# --- structures ---------------------------------------------------------------------------------


def find_structures(search: int, labels: Sequence[str]) -> dict[str, str]:
    """Return the UUIDs of explored structures of a search by the label of their trial.

    Args:
        search: primary key of the search.
        labels: of the trials; of this search, or of those that it goes on from.
    """
    if not labels:
        return {}
    chain = segments(search)
    by_search: dict[int, list[str]] = defaultdict(list)
    for label in labels:
        generation = generation_of_label(label)
        by_search[next(s.search for s in chain if s.holds(generation))].append(label)
    found: dict[str, str] = {}
    for owner, own in by_search.items():
        found |= _find_own_structures(owner, own)
    return found


def _find_own_structures(search: int, labels: Sequence[str]) -> dict[str, str]:
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"id": search}, tag="search")
    builder.append(orm.CalcJobNode, with_incoming="search", tag="job")
    builder.append(
        orm.StructureData,
        with_incoming="job",
        edge_filters={"label": {"in": [STRUCTURE_LINK + label for label in labels]}},
        edge_project="label",
        project="uuid",
        tag="structure",
    )
    builder.order_by({"structure": {"id": "asc"}})  # of a step that ran twice the newest is taken
    return {label.removeprefix(STRUCTURE_LINK): uuid for uuid, label in builder.iterall()}


def explored_structures(search: int) -> dict[str, dict[str, Any]]:
    """Return ``pk`` and ``uuid`` of the explored structures of a chain by label, duplicates included.

    Args:
        search: primary key of the search.
    """
    found: dict[str, dict[str, Any]] = {}
    for segment in segments(search):
        builder = orm.QueryBuilder()
        builder.append(orm.WorkChainNode, filters={"id": segment.search}, tag="search")
        builder.append(orm.CalcJobNode, with_incoming="search", tag="job")
        builder.append(
            orm.StructureData,
            with_incoming="job",
            edge_filters={"label": {"like": f"{STRUCTURE_LINK}%"}},
            edge_project="label",
            project=["id", "uuid"],
            tag="structure",
        )
        builder.order_by({"structure": {"id": "asc"}})
        for pk, uuid, link in builder.all():
            label = link.removeprefix(STRUCTURE_LINK)
            if segment.holds(generation_of_label(label)):
                found[label] = {"pk": pk, "uuid": uuid}
    return found
