"""Explored structures, their ancestors, and searches as tables for notebooks."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from aiida import orm

from aiida_fuse2.core.answer.second import FIRST, SECOND
from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.settings import shares_text, stored_starts

from .finishes import newest_finish, with_phases
from .finishes import phases as phases_of
from .links import EARLIEST_FIRST
from .loading import PROCESS_TYPE, NoSearchError, with_callers
from .nodes import load_node
from .refinements import PROCESS_TYPE as REFINE_PROCESS_TYPE
from .refinements import is_refinement, load_refinement
from .results import load_results, load_single_results, read_results, search_of_structure

if TYPE_CHECKING:
    from pandas import DataFrame


def explored(search: orm.WorkChainNode | int | str) -> DataFrame:
    """Return all explored structures of a search, or all refined ones, in the order they were tried.

    Duplicates are included.

    It follows links, so it is correct even if groups and extras were lost, and counts a step that ran twice once.

    Args:
        search: search or refinement, running or ended: node, primary key or UUID. If a search continues from another,
            the rows have both. A refinement has rows when it has ended.

    Returns:
        One row per structure: ``number``, ``label``, ``energy`` (eV/atom), ``n_atoms``, ``volume`` (Å³ of the cell),
        ``spacegroup`` and ``spacegroup_symbol`` at the tight and, with ``_loose``, the loose tolerance,
        ``protostructure`` (label at the loose tolerance), ``type`` (structure type, if the search had a library),
        ``generation``, ``walker``, ``move``, ``origin``, ``parent``, ``outcome``, ``duplicate_of``, ``cpu_seconds``,
        ``phase`` (rank of the phase of the newest answer that it belongs to), ``pk``, ``uuid``, and all other columns
        of the records of the search. Refined structures also have ``energy_before`` (of the potential of the search),
        ``rank_before``, ``search``, ``pk_before``, ``uuid_before``, and no ``phase``.

    Raises:
        NoSearchError: if this is neither a search nor a refinement.
    """
    import pandas as pd

    results = read_results(load_single_results(search.pk if isinstance(search, orm.Node) else search))
    found = [row | results.known.get(row["label"], {}) for row in results.rows if row["status"] == CONVERGED]
    if is_refinement(results.node):
        return pd.DataFrame(found)
    frame = pd.DataFrame(with_phases(found, newest_finish(results.node)))
    return frame if frame.empty else frame.astype({"phase": "Int64"})


def phases(node: orm.WorkChainNode | int | str) -> DataFrame:
    """Return the phases of the newest answer of a search, of all its runs or of a refinement, lowest energy first.

    Args:
        node: search, several runs of one, refinement, or a finish: node, primary key or UUID.

    Returns:
        One row per phase: ``rank``, ``energy`` and ``delta`` (above the lowest; eV/atom), ``spacegroup``,
        ``spacegroup_symbol``, ``type``, ``statement`` (what is said about it), ``n_atoms`` of the primitive cell,
        ``n_atoms_conventional``, ``z``, ``density`` (g/cm³), ``found`` (number of times), ``pk`` and ``uuid`` of the
        conventional cell, and everything else in the answer. With a second potential, ``rank``, ``energy`` and
        ``delta`` are of the one that orders, and ``rank_first``, ``energy_second``, ... of each. No rows if there is
        no answer.

    Raises:
        NoSearchError: if this is none of them.
    """
    import pandas as pd

    identifier = node.pk if isinstance(node, orm.Node) else node
    given = load_refinement(str(identifier), or_finish=True)
    finish = newest_finish(load_results(identifier)) if given is None or is_refinement(given) else given
    return pd.DataFrame([] if finish is None else [_flat_phase(row) for row in phases_of(finish)])


def _flat_phase(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a phase with the values of each of two potentials in columns of their own."""
    nested = {key: row[key] for key in (FIRST, SECOND) if isinstance(row.get(key), dict)}
    flat = {f"{name}_{key}": value for key, values in nested.items() for name, value in values.items()}
    return {key: value for key, value in row.items() if key not in nested} | flat


def best(search: orm.WorkChainNode | int | str, n: int = 1, *, unique: bool = True) -> list[orm.StructureData]:
    """Return the structures of lowest energy of a search or a refinement, the lowest first.

    Args:
        search: as for ``explored``.
        n: number of structures; there may be fewer.
        unique: whether equal structures count once.

    Raises:
        NoSearchError: if this is neither a search nor a refinement.
        InputError: if ``n`` is less than 1.
    """
    if n < 1:
        raise InputError("n", n, "a whole number from 1")
    frame = explored(search)
    if frame.empty or "pk" not in frame:
        return []
    frame = frame.dropna(subset="pk").sort_values(["energy", "label"])
    if unique:
        equal = frame["duplicate_of"].where(frame["duplicate_of"].notna(), frame["label"])
        frame = frame[~equal.duplicated()]
    pks = [int(pk) for pk in frame["pk"].head(n)]
    builder = orm.QueryBuilder().append(orm.StructureData, filters={"id": {"in": pks}}, project=["id", "*"])
    nodes = dict(builder.all())
    return [nodes[pk] for pk in pks]


def lineage(structure: orm.StructureData | int | str) -> DataFrame:
    """Return an explored structure and its ancestors, the first ancestor on top.

    Args:
        structure: node, primary key or UUID. The ancestors of a refined structure are the structure of the search that
            it was made from, and the ancestors of that one.

    Returns:
        The rows of ``explored``. The energy of a refined structure is of another potential than those above it.

    Raises:
        NoSearchError: if the structure comes from no search.
    """
    import pandas as pd

    node = structure if isinstance(structure, orm.Node) else load_node(structure)
    refinement = next((one for one in with_callers(node.creator) if one.process_type == REFINE_PROCESS_TYPE), None)
    if refinement is not None:
        frame = explored(refinement)
        own = frame[frame["uuid"] == node.uuid]
        if own.empty:
            raise NoSearchError(f"node {node.pk} is not one of the structures of refinement {refinement.pk}")
        return pd.concat([lineage(own["uuid_before"].item()), own], ignore_index=True)
    process = search_of_structure(node)
    if process is None:
        raise NoSearchError(f"node {node.pk} was not made by a search")
    frame = explored(process)
    by_label = {row.label: row for row in frame.itertuples()}
    row = by_label.get(frame.loc[frame["uuid"] == node.uuid, "label"].squeeze()) if "uuid" in frame else None
    if row is None:
        raise NoSearchError(f"node {node.pk} is not one of the explored structures of search {process.pk}")
    indices = []
    while row is not None:
        indices.append(row.Index)
        row = by_label.pop(row.parent, None)
    return frame.loc[indices[::-1]].reset_index(drop=True)


WHOLE_NUMBERS = ("exit_status", "seed", "max_atoms", "tried")
"""Columns of ``searches`` that hold whole numbers."""


def searches(composition: str | None = None) -> DataFrame:
    """Return the searches of the profile, the earliest first.

    Args:
        composition: composition of the searches, in any order of elements (``TiSrO3`` finds ``SrTiO3``).

    Returns:
        One row per search: ``pk``, ``uuid``, ``ctime``, ``process_state``, ``exit_status``, ``composition``,
        ``starts`` (text), ``seed``, ``max_atoms``, and once it has ended ``energy`` (lowest, eV/atom), ``tried`` and
        ``cpu_seconds``.

    Raises:
        InputError: if the composition cannot be read.
    """
    import pandas as pd

    builder = orm.QueryBuilder()
    projected = ["id", "uuid", "ctime", "attributes.process_state", "attributes.exit_status"]
    builder.append(orm.WorkChainNode, filters={"process_type": PROCESS_TYPE}, project=projected, tag="search")
    names = ["composition", "starts", "seed", "max_atoms"]
    project = ["attributes.composition", "attributes", "attributes.seed", "attributes.max_atoms"]
    builder.append(orm.Dict, with_outgoing="search", edge_filters={"label": "settings"}, project=project)
    columns = ["pk", "uuid", "ctime", "process_state", "exit_status", *names]
    frame = pd.DataFrame(builder.order_by({"search": EARLIEST_FIRST}).all(), columns=columns)
    frame["starts"] = [shares_text(stored_starts(settings)) for settings in frame["starts"]]
    if composition is not None:
        wanted = _formula_counts(composition)
        frame = frame[[_known_counts(text) == wanted for text in frame["composition"]]]
    frame = frame.merge(_outcomes(), on="pk", how="left").reset_index(drop=True)
    return frame.astype(dict.fromkeys(WHOLE_NUMBERS, "Int64"))  # whole numbers even if a running search has none yet


def _formula_counts(composition: str) -> dict[str, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # warns that it is a multiple of a formula unit
        return parse_composition(composition).as_dict()


def _known_counts(composition: str) -> dict[str, int] | None:
    """Return the counts of a composition in the graph, or None if it is no formula (earlier versions took such)."""
    try:
        return _formula_counts(composition)
    except InputError:
        return None


def _outcomes() -> DataFrame:
    """Return the results of the searches that have ended."""
    import pandas as pd

    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"process_type": PROCESS_TYPE}, project="id", tag="search")
    state = ["attributes.best.energy", "attributes.tried", "attributes.cpu_seconds"]
    builder.append(orm.Dict, with_incoming="search", edge_filters={"label": "state"}, project=state)
    return pd.DataFrame(builder.all(), columns=["pk", "energy", "tried", "cpu_seconds"])
