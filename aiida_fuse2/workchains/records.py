"""Reading the chain of generations of a search from the graph.

Questions follow the chain of states from the first to the last: a step that ran twice, because a
worker was killed in between, leaves a second branch that leads nowhere and is not counted. A search
that goes on from a state of another one has the other's generations up to that state before its own.

Where there is no such chain, times of creation tell what came first: primary keys do not, since the import of an
archive deals them out anew. Links are followed until one comes back to where it was: an archive may hold any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiida import orm
from aiida.common.exceptions import IntegrityError

from aiida_fuse2.core.errors import Fuse2Error
from aiida_fuse2.core.settings import CHGNET
from aiida_fuse2.core.state import SearchState
from aiida_fuse2.core.trials import generation_of_label

STRUCTURE_LINK = "structures__"
"""Start of the link labels of explored structures, followed by the label of the trial."""

CONTINUED_LINK = "continues"
"""Label of the link from the UUID of the search that another one goes on from."""

GROUP_PREFIX = "fuse2/"
"""Start of the label of the group of a search's explored structures; its UUID follows."""

TARGETS_LINK = "targets"
"""Label of the link to the job that relaxes the targets of a search, and namespace of these inputs."""

ADDED_SUFFIX = "/added"
"""What follows in the label of the group of the files of structures that the user added to a search."""

ADD_TO_POOL = "add_to_pool"
"""Name of the calcfunction that puts structures into the pool."""

EARLIEST_FIRST = [{"ctime": "asc"}, {"id": "asc"}]
"""Order of nodes in a query, for ``order_by``; an import keeps it."""

NEWEST_FIRST = [{"ctime": "desc"}, {"id": "desc"}]
"""The same, backwards."""


class CyclicSearchError(Fuse2Error):
    """A search that goes on from itself, by its links: they were damaged, or made up."""

    def __init__(self, search: int) -> None:
        super().__init__(f"search {search} goes on from itself: its links in the graph were damaged, or are made up")


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

    Raises:
        CyclicSearchError: where one of them goes on from itself.
    """
    found: list[Segment] = []
    current, end_state, stop = search, None, None
    while True:
        if any(segment.search == current for segment in found):
            raise CyclicSearchError(current)
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

    Raises:
        CyclicSearchError: where it was made from itself.
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
    """Return the search that a state comes from, or None where the node is not a state of a search.

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


UsedTier = tuple[str, dict[str, Any], orm.SinglefileData | None]
"""Name, settings and library of pair potentials, if it has one, of a tier."""


def tiers_of_search(inputs: Mapping[str, Any]) -> list[UsedTier]:
    """Return the tiers of a search in their order.

    Args:
        inputs: of the search.
    """
    if "tiers" not in inputs:  # the tiers whose job is `fuse2.relax` differ in their settings alone
        relax = inputs["relax"]
        return [(CHGNET, relax["settings"].get_dict(), relax.get("potential"))]
    tiers = [inputs["tiers"][key] for key in sorted(inputs["tiers"])]
    return [(ports["name"].value, ports["settings"].get_dict(), ports.get("potential")) for ports in tiers]


def last_tier(inputs: Mapping[str, Any]) -> UsedTier:
    """Return the tier that gives the energies of a search.

    Args:
        inputs: of the search.
    """
    return tiers_of_search(inputs)[-1]


# --- the pool of a state --------------------------------------------------------------------------


def pool_of_state(state: str, search: int | None = None) -> orm.SinglefileData | None:
    """Return the pool that a generation after a state draws from, or None where it has none.

    That which the search itself had for this generation, where it had got so far; else that which was left to it.
    What other searches that went on from the state have made of their pools does not matter.

    Args:
        state: UUID of a state node.
        search: primary key of the search that is continued; by default the one that made the state.

    Raises:
        CyclicSearchError: where a search goes on from itself.
    """
    owner = _owner(state, search)
    seen: set[int] = set()
    while owner is not None:
        if owner in seen:
            raise CyclicSearchError(owner)
        seen.add(owner)
        call = _last_pool_call(owner, _resumed(owner, state))
        if call is not None:
            return _pool_of_call(call)
        start = _start_state(owner)
        if start is None or start[0] != state:
            break
        owner = continued_search(owner) or _decider(state)  # it ended before its first proposal
    made_by = state_maker(state)
    if made_by is None:
        return _given_pool(state)
    proposal = orm.load_node(made_by[1]).creator.inputs.proposal.creator
    return _pool_of_call(proposal)


def continued_search(search: int) -> int | None:
    """Return the search that another one was told to go on from, or None where it was not told or is not here.

    Args:
        search: primary key of the one that goes on.
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


def _owner(state: str, search: int | None) -> int | None:
    """Return the search of a chain that makes the generation after a state."""
    if search is None:
        return _caller(state)
    generation = int(orm.load_node(state)["generation"])
    return next((segment.search for segment in segments(search) if segment.holds(generation)), None)


def _caller(state: str) -> int | None:
    """Return the search that called what made a state."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, project="id", tag="search")
    builder.append(orm.CalcFunctionNode, with_incoming="search", tag="maker")
    builder.append(orm.Dict, filters={"uuid": state}, with_incoming="maker")
    found: int | None = builder.first(flat=True)
    return found


def _decider(state: str) -> int | None:
    """Return the search that decided on a state, or made the first one."""
    made_by = state_maker(state)
    return _caller(state) if made_by is None else made_by[0]


def _resumed(search: int, state: str) -> list[str]:
    """Return a state and what a search has made of it to fit its settings, by UUID."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
    filters = {"attributes.process_label": "resume"}
    builder.append(orm.CalcFunctionNode, filters=filters, with_incoming="search", tag="resume")
    builder.append(orm.Dict, filters={"uuid": state}, with_outgoing="resume")
    builder.append(orm.Dict, with_incoming="resume", project="uuid")
    return [state, *builder.all(flat=True)]


def _last_pool_call(search: int, states: Sequence[str]) -> orm.CalcFunctionNode | None:
    """Return what a search did last with its pool at a state: it proposed, or put structures into it."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
    filters = {"attributes.process_label": {"in": ["propose", ADD_TO_POOL]}}
    builder.append(orm.CalcFunctionNode, filters=filters, with_incoming="search", project="*", tag="call")
    builder.append(orm.Dict, filters={"uuid": {"in": list(states)}}, with_outgoing="call", tag="state")
    builder.order_by({"call": NEWEST_FIRST})
    calls: list[orm.CalcFunctionNode] = builder.all(flat=True)
    # a kill may have left one without its outputs
    return next((call for call in calls if call.process_label == "propose" or "pool" in call.outputs), None)


def _pool_of_call(call: orm.CalcFunctionNode) -> orm.SinglefileData | None:
    nodes = call.outputs if call.process_label == ADD_TO_POOL else call.inputs
    return nodes.pool if "pool" in nodes else None


def _given_pool(first_state: str) -> orm.SinglefileData | None:
    """Return the pool given to the search that made a first state, or None."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, tag="search")
    builder.append(orm.CalcFunctionNode, with_incoming="search", tag="begin")
    builder.append(orm.Dict, filters={"uuid": first_state}, with_incoming="begin")
    builder.append(orm.SinglefileData, with_outgoing="search", edge_filters={"label": "pool"}, project="*")
    found: orm.SinglefileData | None = builder.first(flat=True)
    return found


# --- files of structures that were added --------------------------------------------------------------


def add_file(search: str, node: orm.SinglefileData) -> None:
    """Note that a file of structures was added to a search.

    Its files are a group, not an extra of the search: an extra is written back with all others of its node, so that
    of two commands at once one would undo what the other wrote.

    Args:
        search: UUID of the search.
        node: the file, stored.
    """
    label = _added_label(search)
    try:
        group, _ = orm.Group.collection.get_or_create(label)
    except IntegrityError:  # another command has made it since it was looked for
        group = orm.Group.collection.get(label=label)
    group.add_nodes(node)


def added_files(search: str) -> list[orm.SinglefileData]:
    """Return the files of structures that were added to a search, the earliest first.

    Args:
        search: UUID of the search.
    """
    builder = orm.QueryBuilder().append(orm.Group, filters={"label": _added_label(search)}, tag="group")
    builder.append(orm.SinglefileData, with_group="group", project="*", tag="file").order_by({"file": EARLIEST_FIRST})
    files: list[orm.SinglefileData] = builder.all(flat=True)
    return files


def _added_label(search: str) -> str:
    return f"{GROUP_PREFIX}{search}{ADDED_SUFFIX}"


def taken_files(search: int, state: str, pool: orm.SinglefileData | None) -> set[str]:
    """Return the files of structures that a search has put into its pool before or at a state, by UUID.

    Args:
        search: primary key of the search.
        state: UUID of the state where another one goes on.
        pool: that of the state. At this state only what has got into it counts: a kill may have cut off the rest.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
    filters = {"attributes.process_label": ADD_TO_POOL}
    builder.append(orm.CalcFunctionNode, filters=filters, with_incoming="search", tag="add")
    builder.append(orm.Dict, with_outgoing="add", edge_filters={"label": "state"}, project="uuid")
    builder.append(orm.SinglefileData, with_outgoing="add", edge_filters={"label": "added"}, project="uuid")
    present = set(_resumed(search, state))
    return {added for at, added in builder.all() if at not in present} | _files_in_pool(pool)


def _files_in_pool(pool: orm.SinglefileData | None) -> set[str]:
    found: set[str] = set()
    seen: set[str] = set()
    while pool is not None and pool.creator is not None and pool.creator.process_label == ADD_TO_POOL:
        if pool.uuid in seen:
            break
        seen.add(pool.uuid)
        inputs = pool.creator.inputs
        found.add(inputs.added.uuid)
        pool = inputs.pool if "pool" in inputs else None
    return found


# --- generations --------------------------------------------------------------------------------


def generation_records(search: int, end_state: str | None = None) -> list[GenerationRecord]:
    """Return the generations of a search in order, those of the searches that it goes on from included.

    Args:
        search: primary key of the search.
        end_state: UUID of the state of this search that they lead to; by default its last one. A search that comes back
            after a kill must name it: a decision that it does not know of may have been stored already.

    Raises:
        CyclicSearchError: where a search goes on from itself.
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


# --- structures ---------------------------------------------------------------------------------


def find_structures(search: int, labels: Sequence[str]) -> dict[str, str]:
    """Return the UUIDs of explored structures of a search by the label of their trial.

    Args:
        search: primary key of the search.
        labels: of the trials; of this search, or of those that it goes on from.

    Raises:
        CyclicSearchError: where a search goes on from itself.
    """
    if not labels:
        return {}
    chain = segments(search)
    by_search: dict[int, list[str]] = defaultdict(list)
    for label in labels:
        generation = generation_of_label(label)
        owner = next((s.search for s in chain if s.holds(generation)), None)
        if owner is not None:  # else it belongs to a search that is not here
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
    builder.order_by({"structure": EARLIEST_FIRST})  # of a step that ran twice the newest is taken
    return {label.removeprefix(STRUCTURE_LINK): uuid for uuid, label in builder.iterall()}


def explored_structures(search: int) -> dict[str, dict[str, Any]]:
    """Return ``pk`` and ``uuid`` of the explored structures of a chain by label, duplicates included.

    Args:
        search: primary key of the search.

    Raises:
        CyclicSearchError: where a search goes on from itself.
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


# --- targets --------------------------------------------------------------------------------------


def given_targets(search: int, *, project: Sequence[str] = ()) -> list[list[Any]]:
    """Return the name of each target that a search was given, followed by what is projected of its structure.

    Args:
        search: primary key of the search.
        project: as for a QueryBuilder.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
    edge = {"label": {"like": f"{TARGETS_LINK}__%"}}
    builder.append(
        orm.StructureData, with_outgoing="search", edge_filters=edge, edge_project="label", project=list(project)
    )
    start = f"{TARGETS_LINK}__"
    return sorted(([label.removeprefix(start), *values] for *values, label in builder.all()), key=lambda row: row[0])
