"""Refining what searches have found: from what a user asks for to the inputs, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiida import orm
from aiida.common.exceptions import AiidaException
from aiida.engine import ProcessBuilder, ProcessState

from aiida_fuse2 import query
from aiida_fuse2.core.errors import InputError, RefusedInputsError
from aiida_fuse2.environment import load_node
from aiida_fuse2.launch import check_calculators, check_inputs
from aiida_fuse2.query.status import elapsed
from aiida_fuse2.workchains.protocols import merge, protocol_inputs
from aiida_fuse2.workchains.records import NEWEST_FIRST, last_tier
from aiida_fuse2.workchains.refine import Fuse2RefineWorkChain
from aiida_fuse2.workchains.tiers import TierChoice

PROCESS_TYPE = "aiida.workflows:fuse2.refine"

STRUCTURES_LINK = "structures__"
"""Beginning of the links of the structures that are refined."""


def prepare_refinement(
    searches: Sequence[orm.WorkChainNode],
    tiers: TierChoice,
    *,
    code: orm.AbstractCode,
    best: int | None = None,
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> ProcessBuilder:
    """Return the inputs of a refinement, checked.

    Tiers have the pressure of the searches, unless overrides say otherwise.

    Args:
        searches: searches, or several runs of one, for one composition and with one potential.
        tiers: through which their structures go.
        code: the worker.
        best: how many unique structures, lowest energy first; by default as the protocol says.
        protocol: of searches.
        overrides: see ``Fuse2RefineWorkChain.get_builder_from_protocol``.

    Raises:
        InputError: for the first thing that is wrong.
        RefusedInputsError: where AiiDA refuses an input.
    """
    if overrides is not None and not isinstance(overrides, Mapping):
        raise InputError("overrides", overrides, "must be a mapping, e.g. {'tiers': {'chgnet': {}}}")
    single = [search for node in searches for search in query.single_searches(node)]
    number = protocol_inputs(None, name="refine")["best"] if best is None else best
    if number < 1:
        raise InputError("--best", number, "must be at least 1")
    rows = [row for row in query.combined(single, number) if row["uuid"] is not None]
    pressure = last_tier(single[0].inputs)[1].get("pressure", 0.0) if single else 0.0
    changes = merge({"relax": {"settings": {"pressure": pressure}}}, overrides or {})
    try:
        builder = Fuse2RefineWorkChain.get_builder_from_protocol(rows, tiers, code, protocol, changes)
    except InputError:
        raise
    except (ValueError, TypeError, AiidaException) as error:  # an input that does not exist, or is of the wrong type
        raise RefusedInputsError(f"AiiDA refuses an input: {error}") from error
    check_inputs(builder)
    check_calculators(builder)
    return builder


@dataclass(frozen=True, kw_only=True)
class RefinementProgress:
    """How far a refinement is.

    Attributes:
        pk: of the refinement.
        n_structures: how many structures it refines.
        process_state: of AiiDA: created, running, waiting, finished, excepted or killed.
        is_paused: whether the process is paused.
        exit_status: once it has finished.
        phase: what it is doing, for people; empty where it has ended.
        elapsed: since it was submitted, or until it ended, s.
    """

    pk: int
    n_structures: int
    process_state: str
    is_paused: bool
    exit_status: int | None
    phase: str
    elapsed: float

    @property
    def is_terminated(self) -> bool:
        """Whether the refinement has ended, well or badly."""
        return self.process_state in query.TERMINATED


def progress(refinement: int) -> RefinementProgress:
    """Return how far a refinement is; a few cheap queries.

    Args:
        refinement: its primary key.
    """
    builder = orm.QueryBuilder()
    project = ["attributes", "ctime", "mtime"]
    builder.append(orm.WorkChainNode, filters={"id": refinement}, project=project, tag="refinement")
    attributes, ctime, mtime = builder.first()
    edges = {"label": {"like": f"{STRUCTURES_LINK}%"}}
    n_structures = builder.append(orm.StructureData, with_outgoing="refinement", edge_filters=edges).count()
    process_state = attributes.get("process_state") or ProcessState.CREATED.value
    has_ended = process_state in query.TERMINATED
    return RefinementProgress(
        pk=refinement,
        n_structures=n_structures,
        process_state=process_state,
        is_paused=bool(attributes.get("paused", False)),
        exit_status=attributes.get("exit_status"),
        phase="" if has_ended else _phase(refinement),
        elapsed=elapsed(refinement, ctime, mtime, has_ended=has_ended),
    )


def _phase(refinement: int) -> str:
    """Return what a refinement is doing, from the tiers that it called last."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": refinement}, tag="refinement")
    builder.append(orm.WorkChainNode, with_incoming="refinement", project="id", tag="tiers")
    newest = builder.order_by({"tiers": NEWEST_FIRST}).first(flat=True)
    return "starting" if newest is None else f"relaxing {query.tiers_phase([newest])}"


def under_way() -> list[int]:
    """Return the primary keys of the refinements that have not ended, newest first."""
    filters = {"process_type": PROCESS_TYPE, "attributes.process_state": {"!in": sorted(query.TERMINATED)}}
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters=filters, project="id", tag="refinement")
    found: list[int] = builder.order_by({"refinement": NEWEST_FIRST}).all(flat=True)
    return found


def load_refinement(identifier: str) -> orm.WorkChainNode | None:
    """Return a refinement by primary key or UUID, or None where the node is another one or none."""
    try:
        node = load_node(identifier)
    except (AiidaException, ValueError):
        return None
    return node if isinstance(node, orm.WorkChainNode) and node.process_type == PROCESS_TYPE else None


def refined(node: orm.WorkChainNode) -> list[dict[str, Any]]:
    """Return the rows of a refinement with the primary key and UUID of each refined structure; none before its end."""
    if "ranked" not in node.outputs:
        return []
    known = dict(node.outputs.structures.items()) if "structures" in node.outputs else {}
    rows = []
    for row in node.outputs.ranked["structures"]:
        structure = known.get(row["label"])
        found = {"pk": None, "uuid": None} if structure is None else {"pk": structure.pk, "uuid": structure.uuid}
        rows.append({**row, **found})
    return rows
