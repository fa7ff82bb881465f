"""Libraries of prototypes: found in the graph, or made from what a user names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.exceptions import AiidaException

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.errors import InputError, printable
from aiida_fuse2.core.prototypes.decorations import Decoration, candidates
from aiida_fuse2.core.prototypes.encyclopedia import keeps_label
from aiida_fuse2.core.prototypes.gathering import Gathered, gather
from aiida_fuse2.core.prototypes.library import PrototypeError
from aiida_fuse2.core.settings import MAX_ATOMS_LIMIT
from aiida_fuse2.environment.prototypes import (
    SOURCE,
    libraries,
    packaged_source,
    store_library,
)
from aiida_fuse2.io.names import PROTOTYPES_FILE
from aiida_fuse2.io.prototypes import (
    FORMAT,
    build_packaged_library,
    formulas_of,
    library_from_text,
    library_to_text,
    packaged_is_built,
    packaged_name,
    prototypes_of,
)
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.query.nodes import load_node
from aiida_fuse2.workchains.search_builder import split_overrides, without_prototypes

from .library_sources import LibrarySource, exists, source_of

OPTION = "--prototypes"
"""Option that names a library."""

SECONDS_PER_STRUCTURE = 0.015
"""CPU time that a structure takes to become a prototype, s."""

SLOW = 5.0
"""Time after which a user wants to have been told, s."""

NAMED_IN_ERROR = 3
"""Number of structures named in the message if none can be used."""

Say = Callable[[str], None]
"""Function that tells the user what takes time, before it does."""


@dataclass(frozen=True, kw_only=True)
class Library:
    """A library of prototypes in the graph.

    Attributes:
        node: its node.
        is_new: whether it was made now.
        left_out: key, identifier of the reason, and reason of the structures that were left out now.
    """

    node: orm.SinglefileData
    is_new: bool = False
    left_out: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def source(self) -> dict[str, Any]:
        """Where it comes from: name, kind, licence, numbers."""
        return dict(self.node.base.attributes.get(SOURCE, None) or {})

    @property
    def prototypes(self) -> int:
        """Number of prototypes."""
        return sum(formulas_of(self.node.get_content()).values())


def silent(_: str) -> None:
    """Tell nobody."""


def find_library(identifier: str, say: Say = silent) -> Library:
    """Return a library by name, PK or UUID, or make one of a file, a folder, an archive or a group.

    A library that was made of the same structures is found again. A text is taken for, in this order: name of a
    library, path of a file or folder, PK or UUID of a library, label, PK or UUID of a group.

    Args:
        identifier: text of the user.
        say: told what takes long.

    Raises:
        InputError: if there is none, or none of the structures can be a prototype.
    """
    named = libraries(identifier) if identifier else []
    if named:
        return Library(node=named[-1])
    node = None if identifier and exists(Path(identifier)) else _library_node(identifier)
    return make_library(source_of(identifier, OPTION), option=OPTION, say=say) if node is None else Library(node=node)


def _library_node(identifier: str) -> orm.SinglefileData | None:
    """Return the library with a PK or UUID; None if there is no such node.

    Raises:
        InputError: if the node is no library.
    """
    try:
        node = load_node(identifier)
    except (AiidaException, ValueError):
        return None
    if str(node.pk) != identifier and not node.uuid.startswith(identifier.lower()):
        return None  # a node of this label
    if isinstance(node, orm.SinglefileData) and node.filename == PROTOTYPES_FILE:
        with suppress(PrototypeError, OSError, ValueError):
            formulas_of(node.get_content())
            return node
    expected = "is a node, but no library of prototypes; `aiida-fuse2 prototypes list` shows them"
    raise InputError(OPTION, identifier, expected)


def make_library(source: LibrarySource, *, option: str, name: str | None = None, say: Say = silent) -> Library:
    """Return the library of some structures, all of them: it serves any composition, and is made once.

    Args:
        source: the structures.
        option: name of the option, for messages.
        name: name of the library; by default that of the source.
        say: told what takes long.

    Raises:
        InputError: if none of the structures can be a prototype.
    """
    label = name or source.name
    for known in libraries(label):
        stored = Library(node=known).source
        if (stored.get("kind"), stored.get("sha256"), stored.get("format")) == (source.kind, source.sha256, FORMAT):
            return Library(node=known)
    expected = (source.number or 0) * SECONDS_PER_STRUCTURE
    if expected > SLOW:
        say(f"{source.number} structures of the {source.kind} become prototypes, once: about {expected:.0f} s")
    gathered = gather(source.structures())
    if not gathered.prototypes:
        raise InputError(option, source.where, _nothing(gathered))
    values = {
        "name": label,
        "kind": source.kind,
        "where": printable(source.where),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "structures": len(gathered.prototypes) + len(gathered.left_out),
        "left_out": gathered.reasons,
        "sha256": source.sha256,
        "format": FORMAT,
        **source.more,
    }
    node = store_library(library_to_text(gathered.prototypes), values)
    return Library(node=node, is_new=True, left_out=gathered.left_out)


def _nothing(gathered: Gathered) -> str:
    """Return why no structure is a prototype."""
    if not gathered.left_out:
        return "holds no structure"
    shown = "; ".join(f"{printable(key)}: {detail}" for key, _, detail in gathered.left_out[:NAMED_IN_ERROR])
    return f"none of {len(gathered.left_out)} structures can be a prototype: {shown}"


# --- the packaged library -------------------------------------------------------------------------

NOT_INSTALLED = "prototypes are not installed (pip install 'aiida-fuse2[prototypes]'), or name a library"


def say_packaged(say: Say, protocol: str | None = None, overrides: Mapping[str, Any] | None = None) -> None:
    """Tell the user that the packaged library must be built first, or that a search begins without it.

    Args:
        say: told so, in one line; it is told nothing if the library is there.
        protocol: name of the protocol of the search.
        overrides: nested inputs that win over it.
    """
    try:
        if not libraries(packaged_name()) and not packaged_is_built():
            say("The packaged library of prototypes is built once: about half a minute")
    except PrototypeError:
        starts = protocol_inputs(protocol, split_overrides(overrides)[0])["settings"]["starts"]
        others = without_prototypes(starts) if isinstance(starts, Mapping) else starts
        if others != starts:
            say(f"The search begins with {', '.join(others)} alone: {NOT_INSTALLED}")


@dataclass(frozen=True, kw_only=True)
class PackagedLibrary(Library):
    """The packaged library, just built.

    Attributes:
        entries: number of entries of its package.
        refused: number of entries that were left out, by reason.
        same_label: number of prototypes with the label that they were built from.
    """

    entries: int
    refused: dict[str, int]
    same_label: int


def build_packaged() -> PackagedLibrary:
    """Build the packaged library, and return what became of its entries.

    Raises:
        InputError: if its package is not installed.
    """
    try:
        text, refused = build_packaged_library()
    except PrototypeError as error:
        raise InputError("prototypes", "the packaged library", error.detail) from error
    prototypes = library_from_text(text)
    known = len(libraries(packaged_name()))
    node = store_library(text, packaged_source())
    return PackagedLibrary(
        node=node,
        is_new=len(libraries(packaged_name())) > known,
        entries=len(prototypes) + sum(refused.values()),
        refused=dict(refused),
        same_label=sum(map(keeps_label, prototypes)),
    )


# --- what is in a library -------------------------------------------------------------------------


def all_libraries() -> list[Library]:
    """Return the libraries of this profile, oldest first."""
    return [Library(node=node) for node in libraries()]


def packaged_state() -> str:
    """Return ``stored``, ``built``, ``installed`` or ``missing``: what there is of the packaged library."""
    try:
        if libraries(packaged_name()):
            return "stored"
        return "built" if packaged_is_built() else "installed"
    except PrototypeError:
        return "missing"


def stored_library(identifier: str) -> Library:
    """Return a library of this profile by name, PK or UUID.

    Raises:
        InputError: if there is none.
    """
    named = libraries(identifier) if identifier else []
    node = named[-1] if named else _library_node(identifier)
    if node is None:
        raise InputError("LIBRARY", identifier, "there is none of this name; `aiida-fuse2 prototypes list` shows them")
    return Library(node=node)


def formulas(library: Library) -> list[tuple[tuple[int, ...], int]]:
    """Return the anonymous formulas of a library, as numbers of atoms, with the number of prototypes, most first."""
    return formulas_of(library.node.get_content()).most_common()


def decorations_of(library: Library, composition: str, max_atoms: int | None = None) -> list[Decoration]:
    """Return what a composition can become in a library, chemically most similar first.

    Args:
        library: the library.
        composition: formula.
        max_atoms: largest number of atoms of a primitive cell; by default there is no limit.

    Raises:
        InputError: if the formula is wrong.
    """
    unit = parse_composition(composition)
    text = prototypes_of(library.node.get_content(), list(unit.as_dict().values()))
    return candidates(library_from_text(text), unit, MAX_ATOMS_LIMIT if max_atoms is None else max_atoms)
