"""Going on with a search from one of its states, and adding structures to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder

from aiida_fuse2.calculations.conversions import POOL_FILE
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, check_search, parse_settings
from aiida_fuse2.launch import Prepared, RefusedInputsError, check_inputs, screen_starts
from aiida_fuse2.query import search_settings
from aiida_fuse2.workchains.protocols import check_overrides, completed_settings, merge, protocol_inputs
from aiida_fuse2.workchains.records import (
    GenerationRecord,
    add_file,
    added_files,
    generation_records,
    last_state,
    pool_of_state,
    taken_files,
)
from aiida_fuse2.workchains.search import Fuse2WorkChain, fills_pool_by_job, with_text_keys

POOL_MOVES = frozenset({13, 14})
"""Moves that draw from the pool."""


# --- where to go on -----------------------------------------------------------------------------


def choose_state(search: orm.WorkChainNode, *, max_structures: int, generation: int | None = None) -> orm.Dict:
    """Return the state from which a search goes on.

    By default the last one; but where its generation had been cut short by a budget that has grown now,
    the one before, so that the search becomes what it would have been with the larger budget.

    Args:
        search: that has ended, or that another one branches off.
        max_structures: budget of the search that goes on.
        generation: the first to be made anew; by default the first that is missing.

    Raises:
        InputError: where there is no such generation.
    """
    records = generation_records(search.pk)
    if generation is not None:
        if not 0 <= generation <= len(records):
            raise InputError("--generation", generation, f"the search has generations 0 to {len(records) - 1}")
        records = records[:generation]
    elif records and max_structures > int(records[-1].state_values["tried"]) and _is_cut(records[-1]):
        records = records[:-1]
    return orm.load_node(records[-1].state) if records else _first_state(search)


def _is_cut(record: GenerationRecord) -> bool:
    """Tell whether the budget had left no room for all trials of a generation."""
    decide = orm.load_node(record.record).creator
    return bool(decide.inputs.proposal.get_dict().get("cut", False))


def _first_state(search: orm.WorkChainNode) -> orm.Dict:
    """Return the state before the first generation of a chain."""
    if "state" in search.inputs:
        earlier: orm.Dict = search.inputs.state
        return earlier
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search.pk}, tag="search")
    builder.append(
        orm.CalcFunctionNode, filters={"attributes.process_label": "begin"}, with_incoming="search", tag="begin"
    )
    builder.append(orm.Dict, with_incoming="begin")
    found: orm.Dict | None = builder.first(flat=True)
    if found is None:
        raise InputError("search", search.pk, "has not begun; start it again with `aiida-fuse2 run`")
    return found


# --- inputs -------------------------------------------------------------------------------------


def prepare_continuation(
    search: orm.WorkChainNode,
    *,
    overrides: Mapping[str, Any] | None = None,
    generation: int | None = None,
    more: int | None = None,
    code: orm.AbstractCode | None = None,
) -> Prepared:
    """Return the inputs of a search that goes on from a state of an earlier one, checked.

    Structures that were added to the earlier search and that it has not taken enter the pool.

    Args:
        search: the earlier one.
        overrides: nested inputs that differ from those of the earlier search.
        generation: the first to be made anew; by default the first that is missing.
        more: how many structures to try beyond those of the earlier search; sets ``max_structures``.
        code: the worker, where it is another one.

    Raises:
        InputError: for the first thing that is wrong.
        RefusedInputsError: where AiiDA refuses an input.
    """
    if generation is None and not search.is_terminated:
        expected = "is still running and goes on by itself; to branch off from it, name a generation"
        raise InputError("search", search.pk, expected)
    check_overrides({} if overrides is None else overrides)
    values = merge(_values_of(search), overrides or {})
    if more is not None:
        values["settings"]["max_structures"] = _tried(search, generation) + more
    settings = parse_settings(SearchSettings, values["settings"])
    check_search(settings)
    state = choose_state(search, max_structures=settings.max_structures, generation=generation)
    _check_room(state, settings)
    parse_settings(RelaxSettings, values["relax"]["settings"], where="relax.settings")
    try:
        builder = _builder(search, values, settings, code)
    except ValueError as error:  # an option that does not exist, or is of the wrong type
        raise RefusedInputsError(f"AiiDA refuses an input: {' '.join(str(error).split())}") from error
    builder.state = state
    builder.continues = orm.Str(search.uuid)
    waiting = _waiting(search, state, is_last=generation is None)
    if waiting:
        builder.pool = _joined(waiting)
    check_inputs(builder)
    return Prepared(builder=builder)


def _values_of(search: orm.WorkChainNode) -> dict[str, Any]:
    """Return the inputs of a search as plain values, nested as overrides are."""
    metadata = search.get_metadata_inputs() or {}
    tiers = {
        name: {"metadata": {"options": metadata.get(name, {}).get("metadata", {}).get("options", {})}}
        for name in ("relax", "generate")
    }
    own = {
        "settings": completed_settings(search.inputs.settings.get_dict()),
        "relax": {"settings": search.inputs.relax.settings.get_dict()},
        "clean_workdir": search.inputs.clean_workdir.value,
    }
    return merge(merge(protocol_inputs(), tiers), own)


def _builder(
    search: orm.WorkChainNode, values: Mapping[str, Any], settings: SearchSettings, code: orm.AbstractCode | None
) -> ProcessBuilder:
    """Return a builder; a node whose values stay the same stays the same node."""
    builder: ProcessBuilder = Fuse2WorkChain.get_builder()
    earlier = search.inputs
    builder.settings = _node_of({**values["settings"], "composition": settings.unit.formula}, earlier.settings)
    builder.clean_workdir = orm.Bool(values["clean_workdir"])
    builder.relax.code = code or earlier.relax.code
    builder.relax.settings = _node_of(values["relax"]["settings"], earlier.relax.settings)
    builder.relax.metadata.options = values["relax"]["metadata"]["options"]
    if fills_pool_by_job(settings.generator):
        builder.generate.code = code or (earlier.generate.code if "generate" in earlier else earlier.relax.code)
        builder.generate.metadata.options = values["generate"]["metadata"]["options"]
    return builder


def _node_of(values: Mapping[str, Any], earlier: orm.Dict) -> orm.Dict:
    plain = with_text_keys(values)
    return earlier if plain == earlier.get_dict() else orm.Dict(plain)


def _tried(search: orm.WorkChainNode, generation: int | None) -> int:
    """Return how many structures had been tried before a generation, or in all."""
    records = generation_records(search.pk)[:generation]
    return int(records[-1].state_values["tried"]) if records else 0


def _check_room(state: orm.Dict, settings: SearchSettings) -> None:
    """Refuse to go on where a limit is reached already."""
    tried, since = state["tried"], state["since_best"]
    if tried >= settings.max_structures:
        expected = f"{tried} structures have been tried already: ask for more"
        raise InputError("settings.max_structures", settings.max_structures, expected)
    if since >= settings.rmax:
        expected = f"there was no new best in the last {since} structures: give a larger number"
        raise InputError("settings.rmax", settings.rmax, expected)
    hours = state.get_dict().get("cpu_seconds", 0.0) / 3600
    if settings.max_cpu_hours is not None and hours >= settings.max_cpu_hours:
        expected = f"{hours:.2f} h have been spent already: give a larger number"
        raise InputError("settings.max_cpu_hours", settings.max_cpu_hours, expected)


# --- added structures ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Added:
    """What became of structures that were to be added to a search.

    Attributes:
        kept: number of structures that fit.
        skipped: the others by name, with the reason.
        is_drawn: whether any move of the search draws from the pool.
    """

    kept: int
    skipped: tuple[tuple[str, str], ...]
    is_drawn: bool


def add_structures(search: orm.WorkChainNode, paths: Sequence[Path]) -> Added:
    """Add structures of files to a search, best first; it takes them into its pool between two generations.

    A search that has ended takes them when it is continued.

    Args:
        search: running or ended.
        paths: CIF, POSCAR or extended XYZ files, or directories of them.

    Raises:
        RefusedInputsError: where none of the structures fits.
    """
    settings = search_settings(search)
    text, kept, skipped = screen_starts(settings, paths)
    node = orm.SinglefileData.from_string(text, filename=POOL_FILE).store()
    add_file(search.uuid, node)
    is_started = last_state(search.pk) is not None
    weights = settings.move_weights
    is_drawn = not is_started or any(weights.get(number, 0) > 0 for number in POOL_MOVES)
    return Added(kept=kept, skipped=skipped, is_drawn=is_drawn)


def added_and_waiting(search: orm.WorkChainNode) -> list[orm.SinglefileData]:
    """Return the files of structures that were added to a search and that it has not taken into its pool."""
    records = generation_records(search.pk)
    state = orm.load_node(records[-1].state) if records else _first_state(search)
    return _waiting(search, state, is_last=True)


def _waiting(search: orm.WorkChainNode, state: orm.Dict, *, is_last: bool) -> list[orm.SinglefileData]:
    """Return the files of structures that a search had still to take into its pool, in the order it would.

    Args:
        search: that another one goes on from.
        state: where it goes on.
        is_last: whether it takes what was added since; a branch from an earlier point does not.
    """
    inputs = search.inputs
    is_start = "state" in inputs and inputs.state.uuid == state.uuid
    given = [inputs.pool] if is_start and "pool" in inputs else []
    added = added_files(search.uuid) if is_last else []
    if not given and not added:
        return []
    taken = taken_files(search.pk, state.uuid, pool_of_state(state.uuid, search.pk))
    return [node for node in [*given, *added] if node.uuid not in taken]


def _joined(nodes: Sequence[orm.SinglefileData]) -> orm.SinglefileData:
    """Return several files of structures as one; the last comes first, as if they were added one by one."""
    if len(nodes) == 1:
        return nodes[0]
    return orm.SinglefileData.from_string("".join(node.get_content() for node in nodes[::-1]), filename=POOL_FILE)
