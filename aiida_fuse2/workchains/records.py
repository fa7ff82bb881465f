"""Reading the chain of generations of a search from the graph.

Questions follow the chain of states from the first to the last: a step that ran twice, because a
worker was killed in between, leaves a second branch that leads nowhere and is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiida import orm

from aiida_fuse2.core.state import SearchState

STRUCTURE_LINK = "structures__"
"""Start of the link labels of explored structures, followed by the label of the trial."""


@dataclass(frozen=True)
class GenerationRecord:
    """One generation as the graph holds it.

    Attributes:
        record: UUID of the record node.
        state: UUID of the state node after the generation.
        columns: of the record.
        state_values: plain values of the state.
    """

    record: str
    state: str
    columns: dict[str, list[Any]]
    state_values: dict[str, Any]

    @property
    def next_generation(self) -> int:
        """Index of the generation that follows."""
        return int(self.state_values["generation"])


def generation_records(search: int) -> list[GenerationRecord]:
    """Return the generations of a search in order, following the surviving chain of states.

    Args:
        search: primary key of the search.
    """
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"id": search}, tag="search")
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
    found: dict[str, list[GenerationRecord]] = {}
    for _, before, after, state, record, columns in builder.iterall():
        found.setdefault(before, []).append(GenerationRecord(record, after, columns, state))
    return _surviving_chain(found)


def _surviving_chain(by_state: dict[str, list[GenerationRecord]]) -> list[GenerationRecord]:
    """Return the longest chain: of branches from one state, the one that was continued survives."""
    after = {record.state for records in by_state.values() for record in records}
    ends = [r for records in by_state.values() for r in records if r.state not in by_state]
    if not ends:
        return []
    before = {r.state: (state, r) for state, records in by_state.items() for r in records}
    chain = []
    state = max(ends, key=lambda record: record.next_generation).state
    while state in after:
        state, record = before[state]
        chain.append(record)
    return chain[::-1]


def last_state(search: int) -> SearchState | None:
    """Return the state after the last generation of a search, or None before the first has ended."""
    records = generation_records(search)
    return SearchState.from_dict(records[-1].state_values) if records else None


def find_structures(search: int, labels: list[str]) -> dict[str, str]:
    """Return the UUIDs of explored structures of a search by the label of their trial.

    Args:
        search: primary key of the search.
        labels: of the trials.
    """
    if not labels:
        return {}
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
