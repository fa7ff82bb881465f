"""Libraries of prototypes in the graph."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from aiida import orm

from aiida_fuse2.core.prototypes.encyclopedia import CITATION, LICENCE
from aiida_fuse2.core.prototypes.library import PrototypeError
from aiida_fuse2.io.names import PROTOTYPES_FILE
from aiida_fuse2.io.prototypes import packaged_library, packaged_name
from aiida_fuse2.query.links import EARLIEST_FIRST

GROUP = "fuse2/prototypes"
"""Group of the libraries."""

SOURCE = "fuse2_library"
"""Attribute of a library: name, licence, citation, and where it came from."""


def store_library(text: str, source: Mapping[str, Any]) -> orm.SinglefileData:
    """Return the node of a library; one that is in the group with the same name and content is returned again.

    Args:
        text: the prototypes as extended XYZ.
        source: ``name`` and other plain values: licence, citation, address, date.
    """
    node = orm.SinglefileData(io.BytesIO(text.encode()), filename=PROTOTYPES_FILE)
    node.base.attributes.set(SOURCE, dict(source))
    node.label = str(source["name"])
    for known in libraries(node.label):
        if known.get_content(mode="rb") == text.encode():
            return known
    node.store()
    orm.Group.collection.get_or_create(GROUP)[0].add_nodes(node)
    return node


def libraries(name: str | None = None) -> list[orm.SinglefileData]:
    """Return the libraries of this profile, oldest first.

    Args:
        name: name of a library; by default all.
    """
    builder = orm.QueryBuilder()
    builder.append(orm.Group, filters={"label": GROUP}, tag="group")
    filters = {} if name is None else {"label": name}
    builder.append(orm.SinglefileData, with_group="group", filters=filters, tag="library")
    builder.order_by({"library": EARLIEST_FIRST})
    found: list[orm.SinglefileData] = builder.all(flat=True)
    return found


def citation_of(library: orm.SinglefileData) -> str:
    """Return the work to cite for a library; empty if it names none."""
    source = library.base.attributes.get(SOURCE, None)
    return str(source.get("citation", "")) if isinstance(source, Mapping) else ""


def packaged_library_node() -> orm.SinglefileData | None:
    """Return the node of the packaged library, stored if necessary; None if its data are not installed.

    A node with its name and another content, as an archive may bring one, is not taken for it.
    """
    try:
        return store_library(packaged_library(), packaged_source())
    except PrototypeError:
        return None


def packaged_source() -> dict[str, str]:
    """Return what is stored with the packaged library.

    Raises:
        PrototypeError: ``not_installed`` if the package with its data is missing.
    """
    return {
        "name": packaged_name(),
        "kind": "package",
        "title": "AFLOW Encyclopedia of Crystallographic Prototypes",
        "licence": LICENCE,
        "citation": CITATION,
    }
