"""Libraries of prototypes of a command: which one, and what the user is told about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiida_fuse2.cli.params.options import echo
from aiida_fuse2.core.errors import one_line, printable

if TYPE_CHECKING:
    from aiida import orm

    from aiida_fuse2.launch.libraries import Library

MAX_NAMED = 10
"""Largest number of structures that are listed one by one."""


def tell(text: str) -> None:
    """Print on the standard error what takes long, or is not there."""
    echo(text, err=True)


def library_of(
    text: str | None, composition: str, *, protocol: str | None, overrides: Mapping[str, Any]
) -> orm.SinglefileData | None:
    """Return the library that ``--prototypes`` names, made if necessary; None for the packaged one.

    Args:
        text: value of the option.
        composition: formula of the search, which is checked first.
        protocol: name of the protocol.
        overrides: inputs that win over it.

    Raises:
        InputError: if there is no such library, or the formula is wrong.
    """
    from aiida_fuse2.core.chemistry.composition import parse_composition
    from aiida_fuse2.launch.libraries import find_library, say_packaged

    parse_composition(composition)
    if text is None:
        say_packaged(tell, protocol, overrides)
        return None
    library = find_library(text, tell)
    list_left_out(library)
    if library.is_new:
        tell(f"Library {library.node.label!r} of {library.prototypes} prototypes made: PK {library.node.pk}")
    return library.node


def list_left_out(library: Library) -> None:
    """Print on the standard error which structures are no prototypes, by reason and the first by name."""
    if not library.left_out:
        return
    reasons: Mapping[str, int] = library.source.get("left_out", {})
    tell("Left out: " + ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items())))
    for key, _, detail in library.left_out[:MAX_NAMED]:
        tell(f"  {printable(key)}: {one_line(detail)}")
    if len(library.left_out) > MAX_NAMED:
        tell(f"  and {len(library.left_out) - MAX_NAMED} more")
