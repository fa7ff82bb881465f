"""Versions of the packages that jobs ran with."""

from __future__ import annotations

from aiida import orm

from .links import NEWEST_FIRST


def software(search: int) -> dict[str, str]:
    """Return the versions of the packages that the jobs of a search ran with, by name; empty if none has ended.

    Several tiers are taken together; if versions differ between computers, all are named.

    Args:
        search: primary key of the search.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
    builder.append(orm.ProcessNode, with_incoming="search", tag="job")  # a job, or tiers
    edge = {"label": "results"}
    builder.append(orm.Dict, with_incoming="job", edge_filters=edge, project="attributes.software", tag="results")
    found = builder.order_by({"results": NEWEST_FIRST}).limit(1).first(flat=True) or {}
    by_tier = [value for value in found.values() if isinstance(value, dict)] or [found]
    names = sorted({name for versions in by_tier for name in versions})
    return {
        name: ", ".join(dict.fromkeys(versions[name] for versions in by_tier if name in versions)) for name in names
    }
