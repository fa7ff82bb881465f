"""Refinements and finishes of searches: their progress and their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiida import orm
from aiida.common.exceptions import AiidaException

from .activity import jobs_text, tiers_phase
from .links import NEWEST_FIRST
from .loading import TERMINATED
from .nodes import load_node
from .status import ProcessProgress, process_values

PROCESS_TYPE = "aiida.workflows:fuse2.refine"

FINISH_TYPE = "aiida.workflows:fuse2.finish"

KINDS = {PROCESS_TYPE: "refinement", FINISH_TYPE: "finish"}
"""What the processes are called, by their types."""

STRUCTURES_LINK = "structures__"
"""Beginning of the links of the structures that are refined."""


@dataclass(frozen=True, kw_only=True)
class RefinementProgress(ProcessProgress):
    """The progress of a refinement, or of finishing searches.

    Attributes:
        kind: ``refinement`` or ``finish``.
        n_structures: number of structures that it takes.
        phase: current phase as text; empty if it has ended.
    """

    kind: str
    n_structures: int
    phase: str


def progress(refinement: int) -> RefinementProgress:
    """Return the progress of a refinement, or of a finish; a few cheap queries.

    Args:
        refinement: its primary key.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": refinement}, project="process_type")
    kind = KINDS[builder.first(flat=True)]
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": refinement}, tag="refinement")
    edges = {"label": {"like": f"{STRUCTURES_LINK}%"}}
    n_structures = builder.append(orm.StructureData, with_outgoing="refinement", edge_filters=edges).count()
    process, _ = process_values(refinement)
    phase = "" if process["process_state"] in TERMINATED else _phase(refinement)
    return RefinementProgress(**process, kind=kind, n_structures=n_structures, phase=phase)


def _phase(refinement: int) -> str:
    """Return the phase of a refinement, from the tiers or the job that it called last."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": refinement}, tag="refinement")
    project = ["id", "node_type", "attributes"]
    builder.append([orm.WorkChainNode, orm.CalcJobNode], with_incoming="refinement", project=project, tag="called")
    newest = builder.order_by({"called": NEWEST_FIRST}).first()
    if newest is None:
        return "starting"
    pk, node_type, attributes = newest
    is_job = node_type == orm.CalcJobNode.class_node_type
    return f"relaxing {jobs_text([attributes]) if is_job else tiers_phase([pk])}"


def under_way() -> list[int]:
    """Return the primary keys of the refinements and finishes that have not ended, newest first."""
    filters = {"process_type": {"in": list(KINDS)}, "attributes.process_state": {"!in": sorted(TERMINATED)}}
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters=filters, project="id", tag="refinement")
    found: list[int] = builder.order_by({"refinement": NEWEST_FIRST}).all(flat=True)
    return found


def load_refinement(identifier: str, *, or_finish: bool = False) -> orm.WorkChainNode | None:
    """Return a refinement by primary key or UUID, or None if there is no such node or it is none.

    Args:
        identifier: primary key or UUID.
        or_finish: whether a finish of searches is taken as well.
    """
    try:
        node = load_node(identifier)
    except (AiidaException, ValueError):
        return None
    if not isinstance(node, orm.WorkChainNode):
        return None
    return node if is_refinement(node) or (or_finish and node.process_type == FINISH_TYPE) else None


def is_refinement(node: orm.WorkChainNode) -> bool:
    """Return whether a node is a refinement."""
    return bool(node.process_type == PROCESS_TYPE)


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
