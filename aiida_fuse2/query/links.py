"""Names of links, groups and functions of a search in the graph, and its tiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm

from aiida_fuse2.core.settings import CHGNET

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
