"""Searches for compositions of a chemical system."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from aiida import orm

from aiida_fuse2.core.chemistry.composition import FormulaUnit, parse_composition
from aiida_fuse2.core.errors import InputError

from .links import NEWEST_FIRST
from .loading import PROCESS_TYPE
from .ranking import has_same_energies


def searches_within(
    elements: Collection[str], inputs: Mapping[str, Any]
) -> list[tuple[orm.WorkChainNode, FormulaUnit]]:
    """Return the searches with no other elements, whose energies are comparable, newest first.

    Searches that have ended by an error before they found a structure, or were killed, are not among them.

    Args:
        elements: of the chemical system.
        inputs: inputs of a search or a refinement that has the potential and pressure.
    """
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"process_type": PROCESS_TYPE}, project="id", tag="search")
    edges = {"label": "settings"}
    builder.append(orm.Dict, with_outgoing="search", edge_filters=edges, project="attributes.composition")
    builder.order_by({"search": NEWEST_FIRST})
    found = []
    for pk, composition in builder.all():
        unit = _unit(composition)
        if unit is None or not set(unit.elements) <= set(elements):
            continue
        node = orm.load_node(pk)
        has_given_up = node.is_terminated and not node.is_finished and "structure" not in node.outputs
        if not has_given_up and has_same_energies(inputs, node.inputs):
            found.append((node, unit))
    return found


def _unit(composition: object) -> FormulaUnit | None:
    try:
        return parse_composition(composition) if isinstance(composition, str) else None
    except InputError:  # an archive may hold anything
        return None
