"""The chain of generations of a search, with those of the searches that it continues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiida import orm

from aiida_fuse2.core.errors import Fuse2Error
from aiida_fuse2.core.search.state import SearchState

from .links import CONTINUED_LINK, EARLIEST_FIRST


class CyclicSearchError(Fuse2Error):
    """A search continues from itself according to its links: they are damaged or made up."""

    def __init__(self, search: int) -> None:
        super().__init__(f"search {search} continues from itself: its links in the graph were damaged, or are made up")


@dataclass(frozen=True)
class GenerationRecord:
    """One generation as the graph holds it.

    Attributes:
        record: UUID of the record node.
        before: UUID of the state node before the generation.
        state: UUID of the state node after the generation.
        columns: columns of the record.
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
        end_state: UUID of the state at which another search continued, or None if it is the last one.
        stop: index of the first generation that is not part of the chain, or None for the last search.
    """

    search: int
    first: int
    end_state: str | None = None
    stop: int | None = None

    def holds(self, generation: int) -> bool:
        """Return whether a generation of the chain belongs to this search."""
        return generation >= self.first and (self.stop is None or generation < self.stop)


def segments(search: int) -> list[Segment]:
    """Return the searches whose generations lead to this one, the earliest first, itself the last.

    Args:
        search: primary key of the search.

    Raises:
        CyclicSearchError: if one of them continues from itself.
    """
    found: list[Segment] = []
    current, end_state, stop = search, None, None
    while True:
        if any(segment.search == current for segment in found):
            raise CyclicSearchError(current)
        start = start_state(current)
        first = 0 if start is None else int(start[1])
        found.append(Segment(current, first, end_state, stop))
        made_by = None if start is None else state_maker(start[0])
        if made_by is None:
            return found[::-1]
        current, end_state = made_by
        stop = first


def start_state(search: int) -> tuple[str, int] | None:
    """Return UUID and generation of the state that a search was given, or None."""
    builder = orm.QueryBuilder()
    builder.append(orm.Dict, project=["uuid", "attributes.generation"], tag="state")
    builder.append(orm.WorkChainNode, filters={"id": search}, with_incoming="state", edge_filters={"label": "state"})
    row = builder.first()
    return None if row is None else (row[0], row[1])


def state_maker(state: str) -> tuple[int, str] | None:
    """Return the search that decided on the generation before a state, and UUID of that decided state.

    A state that was changed to fit other settings counts as the state that it was made from. None for a
    state before the first generation.

    Args:
        state: UUID of a state node.

    Raises:
        CyclicSearchError: if it was made from itself.
    """
    seen: set[str] = set()
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
        if state in seen:
            raise CyclicSearchError(row[0])
        seen.add(state)
        builder = orm.QueryBuilder().append(orm.CalcFunctionNode, filters={"id": row[1]}, tag="maker")
        builder.append(orm.Dict, with_outgoing="maker", edge_filters={"label": "state"}, project="uuid")
        state = builder.first(flat=True)


def search_of_state(state: str) -> orm.WorkChainNode | None:
    """Return the search that a state comes from, or None if the node is not a state of a search.

    Args:
        state: UUID of a node.
    """
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"attributes.process_label": "Fuse2WorkChain"}, project="*", tag="search")
    builder.append(
        orm.CalcFunctionNode,
        with_incoming="search",
        filters={"attributes.process_label": {"in": ["begin", "decide", "resume"]}},
        tag="maker",
    )
    builder.append(orm.Dict, filters={"uuid": state}, with_incoming="maker", edge_filters={"label": {"!==": "record"}})
    found: orm.WorkChainNode | None = builder.first(flat=True)
    return found


def continued_search(search: int) -> int | None:
    """Return the search that another one was asked to continue from, or None if there is none or it is not here.

    Args:
        search: primary key of the continuing search.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
    edge = {"label": CONTINUED_LINK}
    builder.append(orm.Str, with_outgoing="search", edge_filters=edge, project="attributes.value")
    uuid = builder.first(flat=True)
    if uuid is None:
        return None
    found: int | None = (
        orm.QueryBuilder().append(orm.WorkChainNode, filters={"uuid": uuid}, project="id").first(flat=True)
    )
    return found


def caller_of_state(state: str) -> int | None:
    """Return the search that called the process which made a state."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, project="id", tag="search")
    builder.append(orm.CalcFunctionNode, with_incoming="search", tag="maker")
    builder.append(orm.Dict, filters={"uuid": state}, with_incoming="maker")
    found: int | None = builder.first(flat=True)
    return found


def generation_records(search: int, end_state: str | None = None) -> list[GenerationRecord]:
    """Return the generations of a search in order, with those of the searches that it continues from.

    Args:
        search: primary key of the search.
        end_state: UUID of the state of this search that they lead to; by default its last one. A search that comes back
            after a kill must name it: a decision unknown to the search may have been stored already.

    Raises:
        CyclicSearchError: if a search continues from itself.
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
    builder.order_by({"decide": EARLIEST_FIRST})
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
        chain.append(by_state.pop(end_state))
        end_state = chain[-1].before
    return chain[::-1]


def last_state(search: int) -> SearchState | None:
    """Return the state after the last generation of a search, or None before the first has ended."""
    records = generation_records(search)
    return SearchState.from_dict(records[-1].state_values) if records else None
