"""The pools of a search, and files of structures that were added to it."""

from __future__ import annotations

from collections.abc import Sequence

from aiida import orm
from aiida.common.exceptions import IntegrityError

from aiida_fuse2.core.settings import stored_starts

from .chain import CyclicSearchError, caller_of_state, continued_search, segments, start_state, state_maker
from .links import ADD_TO_POOL, ADDED_SUFFIX, EARLIEST_FIRST, GROUP_PREFIX, NEWEST_FIRST


def pool_of_state(state: str, search: int | None = None) -> orm.SinglefileData | None:
    """Return the pool that a generation after a state draws from, or None if it has none.

    It is the pool that the search itself had for this generation, if it came so far; else the pool left to it.
    The pools of other searches that continued from the state do not matter.

    Args:
        state: UUID of a state node.
        search: primary key of the continued search; by default the one that made the state.

    Raises:
        CyclicSearchError: if a search continues from itself.
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
        start = start_state(owner)
        if start is None or start[0] != state:
            break
        owner = continued_search(owner) or _decider(state)  # it ended before its first proposal
    made_by = state_maker(state)
    if made_by is None:
        return _given_pool(state)
    proposal = orm.load_node(made_by[1]).creator.inputs.proposal.creator
    return _pool_of_call(proposal)


def generators_before(pool: orm.SinglefileData) -> list[str]:
    """Return the names of the generators that had made a pool when this one was filled, for this search or by the user.

    Args:
        pool: a pool, perhaps with structures that were added to it.
    """
    seen: set[str] = set()
    while pool.creator is not None and pool.uuid not in seen:
        seen.add(pool.uuid)
        inputs = pool.creator.inputs
        if isinstance(pool.creator, orm.CalcJobNode) and "settings" in inputs:
            return sorted(stored_starts(inputs.settings.get_dict()))
        if pool.creator.process_label != ADD_TO_POOL or "pool" not in inputs:
            break
        pool = inputs.pool
    return []


def _owner(state: str, search: int | None) -> int | None:
    """Return the search of a chain that makes the generation after a state."""
    if search is None:
        return caller_of_state(state)
    generation = int(orm.load_node(state)["generation"])
    return next((segment.search for segment in segments(search) if segment.holds(generation)), None)


def _decider(state: str) -> int | None:
    """Return the search that decided on a state, or made the first one."""
    made_by = state_maker(state)
    return caller_of_state(state) if made_by is None else made_by[0]


def _resumed(search: int, state: str) -> list[str]:
    """Return the UUIDs of a state and of the versions of it that a search has changed to fit its settings."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
    filters = {"attributes.process_label": "resume"}
    builder.append(orm.CalcFunctionNode, filters=filters, with_incoming="search", tag="resume")
    builder.append(orm.Dict, filters={"uuid": state}, with_outgoing="resume")
    builder.append(orm.Dict, with_incoming="resume", project="uuid")
    return [state, *builder.all(flat=True)]


def _last_pool_call(search: int, states: Sequence[str]) -> orm.CalcFunctionNode | None:
    """Return the last process of a search with its pool at a state: a proposal or an addition."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
    filters = {"attributes.process_label": {"in": ["propose", ADD_TO_POOL]}}
    builder.append(orm.CalcFunctionNode, filters=filters, with_incoming="search", project="*", tag="call")
    builder.append(orm.Dict, filters={"uuid": {"in": list(states)}}, with_outgoing="call", tag="state")
    builder.order_by({"call": NEWEST_FIRST})
    calls: list[orm.CalcFunctionNode] = builder.all(flat=True)
    # a kill may have left a process without its outputs
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


def add_file(search: str, node: orm.SinglefileData) -> None:
    """Store that a file of structures was added to a search.

    The files are in a group, not in an extra of the search: an extra is written back with all others of its node, so
    that one of two simultaneous commands would undo the change of the other.

    Args:
        search: UUID of the search.
        node: the file, stored.
    """
    label = _added_label(search)
    try:
        group, _ = orm.Group.collection.get_or_create(label)
    except IntegrityError:  # another command has made it since the query
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
        state: UUID of the state where another one continues.
        pool: pool of the state. At this state only the files in this pool count: a kill may have cut off the rest.
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
