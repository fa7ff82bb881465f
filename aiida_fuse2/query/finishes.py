"""Finishes of searches: the answer that a search ends with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent

from aiida_fuse2.core.answer.answers import NUMBERS, TEXTS, readable_rows
from aiida_fuse2.core.answer.description import CELL_PARAMETERS
from aiida_fuse2.core.answer.second import SECOND, Order, energies_under, read_order

from .links import NEWEST_FIRST
from .loading import single_searches
from .ranking import has_same_energies
from .refinements import FINISH_TYPE
from .relaxation import program_of
from .tiers import UsedTier, last_tier, second_of_search

STRUCTURES = "structures"


def newest_finish(node: orm.WorkChainNode) -> orm.WorkChainNode | None:
    """Return the newest finish with an answer for a search, or for all its runs together; None if there is none.

    A finish with another potential is an answer of its own: its energies cannot be shown with those of the search.

    Args:
        node: search, or several runs of one.
    """
    searches = single_searches(node)
    wanted = {search.uuid for search in searches}
    found = (orm.load_node(pk) for pk, uuids in _finishes() if uuids == wanted)
    return next((one for one in found if has_same_energies(searches[0].inputs, one.inputs)), None)


def lowest_phases(nodes: Iterable[orm.WorkChainNode]) -> dict[int, dict[str, Any]]:
    """Return the lowest phase of the newest answer of each of many searches or runs that has one, by primary key.

    Rows have no primary key and UUID of the cell.

    Args:
        nodes: searches, or several runs of one.
    """
    of_uuids: dict[frozenset[str], list[int]] = {}
    for pk, uuids in _finishes():
        of_uuids.setdefault(frozenset(uuids), []).append(pk)
    finishes: dict[int, int] = {}
    for node in nodes:
        searches = single_searches(node)
        for pk in of_uuids.get(frozenset(search.uuid for search in searches), []):
            if has_same_energies(searches[0].inputs, orm.load_node(pk).inputs):
                finishes[node.pk] = pk
                break
    builder = orm.QueryBuilder()
    filters = {"id": {"in": list(finishes.values())}}
    builder.append(orm.WorkChainNode, filters=filters, project="id", tag="finish")
    edges = {"label": "answer"}
    builder.append(orm.Dict, with_incoming="finish", edge_filters=edges, project="attributes.phases")
    rows = {pk: readable_rows(stored, TEXTS, NUMBERS) for pk, stored in builder.all()} if finishes else {}
    return {pk: rows[finish][0] for pk, finish in finishes.items() if rows.get(finish)}


def _finishes() -> list[tuple[int, set[str]]]:
    """Return the finishes with an answer, newest first, with the UUIDs of their searches."""
    builder = orm.QueryBuilder()
    filters = {"process_type": FINISH_TYPE, "attributes.exit_status": 0}
    builder.append(orm.WorkChainNode, filters=filters, project="id", tag="finish")
    edges = {"label": "searches"}
    builder.append(orm.List, with_outgoing="finish", edge_filters=edges, project="attributes.list")
    builder.order_by({"finish": NEWEST_FIRST})
    return [(pk, _texts(uuids)) for pk, uuids in builder.all()]


def phases(finish: orm.WorkChainNode) -> list[dict[str, Any]]:
    """Return the phases of a finish, lowest energy first, with primary key and UUID of each conventional cell.

    Args:
        finish: a finish; none of them before its end.
    """
    if "answer" not in finish.outputs:
        return []
    known = dict(finish.outputs[STRUCTURES].items()) if STRUCTURES in finish.outputs else {}
    rows = []
    for row in readable_rows(finish.outputs.answer.get_dict().get("phases"), TEXTS, NUMBERS):
        node = known.get(row["label"])
        rows.append({**row, "pk": None if node is None else node.pk, "uuid": None if node is None else node.uuid})
    return rows


def phase_ranks(finish: orm.WorkChainNode) -> dict[str, int]:
    """Return the rank of the phase that each structure taken by a finish belongs to, by UUID.

    Args:
        finish: a finish; none before its end.
    """
    given = dict(finish.inputs[STRUCTURES].items()) if STRUCTURES in finish.inputs else {}
    return {given[member].uuid: row["rank"] for row in phases(finish) for member in _members(row) if member in given}


def members(finish: orm.WorkChainNode, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the structures of a phase with primary key, number of atoms and cell (Å, degrees), as they were relaxed.

    Args:
        finish: the finish.
        row: row of ``phases``.
    """
    given = dict(finish.inputs[STRUCTURES].items()) if STRUCTURES in finish.inputs else {}
    found = []
    for member in readable_rows(row.get("members"), ("member", "label"), ("rank", "energy", "found")):
        node = given.get(member["member"])
        values: dict[str, Any] = {"pk": None, "n_atoms": None}
        if node is not None:
            atoms = node.get_ase()
            cell = zip(CELL_PARAMETERS, atoms.cell.cellpar().tolist(), strict=True)
            values = {"pk": node.pk, "n_atoms": len(atoms), **dict(cell)}
        found.append({**member, **values})
    return found


def with_phases(rows: Iterable[Mapping[str, Any]], finish: orm.WorkChainNode | None) -> list[dict[str, Any]]:
    """Return rows of structures with ``phase``, the rank of the phase that each belongs to, or None.

    A structure belongs to the phase of those that it equals.

    Args:
        rows: with ``uuid``, ``label`` and, unless they are unique, ``duplicate_of``; of several runs with ``run``.
        finish: finish of the search or searches; None if there is none.
    """
    known = list(rows)
    ranks = {} if finish is None else phase_ranks(finish)
    first = [(row.get("run"), row.get("duplicate_of") or row["label"]) for row in known]
    of_first = {key: ranks[row["uuid"]] for key, row in zip(first, known, strict=True) if row.get("uuid") in ranks}
    return [{**row, "phase": of_first.get(key)} for key, row in zip(first, known, strict=True)]


def _members(row: Mapping[str, Any]) -> list[str]:
    """Return the labels of the structures of a phase; an archive may hold anything in their place."""
    members = row.get("members")
    named = [one.get("member") for one in members if isinstance(one, dict)] if isinstance(members, list) else []
    return [name for name in named if isinstance(name, str)]


def program(finish: orm.WorkChainNode) -> str:
    """Return the name of the program that computed the energies, such as ``CHGNet 0.3.0``."""
    try:
        name, settings, _ = last_tier(finish.inputs)
    except (KeyError, NotExistent):  # missing in an archive
        return "a program that is not in this profile"
    return program_of(name, settings)


def order(finish: orm.WorkChainNode) -> Order | None:
    """Return how two potentials order the phases of a finish; None if there is one potential."""
    return read_order(finish.outputs.answer.get_dict().get("order")) if "answer" in finish.outputs else None


def lowest_of_second(finish: orm.WorkChainNode) -> tuple[UsedTier, float] | None:
    """Return the second potential of a finish as a tier, and the lowest energy under it, eV/atom.

    None unless it orders the phases.

    Args:
        finish: a finish.
    """
    ordered, rows = order(finish), phases(finish)
    if ordered is None or ordered.by != SECOND or not rows:
        return None
    try:
        tier = second_of_search(finish.inputs)
    except (KeyError, NotExistent):  # missing in an archive
        return None
    energy = energies_under(rows[0], SECOND)
    return None if tier is None or energy is None else (tier, energy[0])


def failed(finish: orm.WorkChainNode) -> list[dict[str, str]]:
    """Return label, status and detail of the structures without an answer."""
    rows = finish.outputs.answer.get_dict().get("failed") if "answer" in finish.outputs else []
    return readable_rows(rows, ("label", "status", "detail"))


def _texts(value: Any) -> set[str]:
    """Return the texts of a stored list, which may be anything in an archive."""
    return {item for item in value if isinstance(item, str)} if isinstance(value, list) else set()
