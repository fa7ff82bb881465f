"""Refinements: their progress and their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiida import orm
from aiida.common.exceptions import AiidaException

from .links import NEWEST_FIRST
from .loading import TERMINATED
from .nodes import load_node
from .phases import tiers_phase
from .status import ProcessProgress, process_values

PROCESS_TYPE = "aiida.workflows:fuse2.refine"

STRUCTURES_LINK = "structures__"
"""Beginning of the links of the structures that are refined."""


@dataclass(frozen=True, kw_only=True)
class RefinementProgress(ProcessProgress):
    """The progress of a refinement.

    Attributes:
        n_structures: number of structures that it refines.
        phase: current phase as text; empty if it has ended.
    """

    n_structures: int
    phase: str


def progress(refinement: int) -> RefinementProgress:
    """Return the progress of a refinement; a few cheap queries.

    Args:
        refinement: primary key of the refinement.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": refinement}, tag="refinement")
    edges = {"label": {"like": f"{STRUCTURES_LINK}%"}}
    n_structures = builder.append(orm.StructureData, with_outgoing="refinement", edge_filters=edges).count()
    process, _ = process_values(refinement)
    phase = "" if process["process_state"] in TERMINATED else _phase(refinement)
    return RefinementProgress(**process, n_structures=n_structures, phase=phase)


def _phase(refinement: int) -> str:
    """Return the phase of a refinement, from the tiers that it called last."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": refinement}, tag="refinement")
    builder.append(orm.WorkChainNode, with_incoming="refinement", project="id", tag="tiers")
    newest = builder.order_by({"tiers": NEWEST_FIRST}).first(flat=True)
    return "starting" if newest is None else f"relaxing {tiers_phase([newest])}"


def under_way() -> list[int]:
    """Return the primary keys of the refinements that have not ended, newest first."""
    filters = {"process_type": PROCESS_TYPE, "attributes.process_state": {"!in": sorted(TERMINATED)}}
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters=filters, project="id", tag="refinement")
    found: list[int] = builder.order_by({"refinement": NEWEST_FIRST}).all(flat=True)
    return found


def load_refinement(identifier: str) -> orm.WorkChainNode | None:
    """Return a refinement by primary key or UUID, or None if there is no such node or it is no refinement."""
    try:
        node = load_node(identifier)
    except (AiidaException, ValueError):
        return None
    return node if isinstance(node, orm.WorkChainNode) and is_refinement(node) else None


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
