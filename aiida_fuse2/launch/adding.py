"""Structures that the user adds to a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiida import orm

from aiida_fuse2.calculations.conversions import POOL_FILE
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.moves import find_move
from aiida_fuse2.query.chain import generation_records, last_state
from aiida_fuse2.query.links import NEWEST_FIRST
from aiida_fuse2.query.loading import search_settings
from aiida_fuse2.query.pools import add_file, added_files, pool_of_state, taken_files

from .starts import screen_starts


def first_state(search: orm.WorkChainNode) -> orm.Dict:
    """Return the state before the first generation of a chain."""
    if "state" in search.inputs:
        earlier: orm.Dict = search.inputs.state
        return earlier
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search.pk}, tag="search")
    builder.append(
        orm.CalcFunctionNode, filters={"attributes.process_label": "begin"}, with_incoming="search", tag="begin"
    )
    builder.append(orm.Dict, with_incoming="begin", tag="state").order_by({"state": NEWEST_FIRST})
    found: orm.Dict | None = builder.first(flat=True)  # of a step that ran twice the newest
    if found is None:
        raise InputError("search", search.pk, "has not begun; start it again with `aiida-fuse2 run`")
    return found


@dataclass(frozen=True, kw_only=True)
class Added:
    """The result of adding structures to a search.

    Attributes:
        kept: number of structures that fit.
        skipped: reasons why others do not fit, by name.
        is_drawn: whether any move of the search draws from the pool.
    """

    kept: int
    skipped: tuple[tuple[str, str], ...]
    is_drawn: bool


def add_structures(search: orm.WorkChainNode, paths: Sequence[Path]) -> Added:
    """Add structures of files to a search, best first; they enter its pool between two generations.

    In a search that has ended they enter the pool when it is continued.

    Args:
        search: running or ended search.
        paths: CIF, POSCAR or extended XYZ files, or directories of them.

    Raises:
        RefusedInputsError: if none of the structures fits.
    """
    settings = search_settings(search)
    text, kept, skipped = screen_starts(settings, paths)
    node = orm.SinglefileData.from_string(text, filename=POOL_FILE).store()
    add_file(search.uuid, node)
    is_started = last_state(search.pk) is not None
    used = [find_move(name) for name, weight in settings.move_weights.items() if weight > 0]
    is_drawn = not is_started or any(move is not None and move.draws_from_pool for move in used)
    return Added(kept=kept, skipped=skipped, is_drawn=is_drawn)


def added_and_waiting(search: orm.WorkChainNode) -> list[orm.SinglefileData]:
    """Return the files of structures that were added to a search and that it has not taken into its pool."""
    records = generation_records(search.pk)
    state = orm.load_node(records[-1].state) if records else first_state(search)
    return waiting_files(search, state, is_last=True)


def waiting_files(search: orm.WorkChainNode, state: orm.Dict, *, is_last: bool) -> list[orm.SinglefileData]:
    """Return the files of structures that a search had still to take into its pool, in their order.

    Args:
        search: search that another one continues from.
        state: state where it continues.
        is_last: whether it takes files added since; a branch from an earlier point does not.
    """
    inputs = search.inputs
    is_start = "state" in inputs and inputs.state.uuid == state.uuid
    given = [inputs.pool] if is_start and "pool" in inputs else []
    added = added_files(search.uuid) if is_last else []
    if not given and not added:
        return []
    taken = taken_files(search.pk, state.uuid, pool_of_state(state.uuid, search.pk))
    return [node for node in [*given, *added] if node.uuid not in taken]


def joined_files(nodes: Sequence[orm.SinglefileData]) -> orm.SinglefileData:
    """Return several files of structures as one; the last comes first, as if they were added one by one."""
    if len(nodes) == 1:
        return nodes[0]
    return orm.SinglefileData.from_string("".join(node.get_content() for node in nodes[::-1]), filename=POOL_FILE)
