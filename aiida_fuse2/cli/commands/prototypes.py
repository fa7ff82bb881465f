"""``aiida-fuse2 prototypes``: libraries of structure types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.cli.params.options import JSON, MAX_ATOMS, echo, echo_json, hint, with_profile
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.utils.libraries import list_left_out, tell

if TYPE_CHECKING:
    from aiida_fuse2.core.prototypes.decorations import Decoration
    from aiida_fuse2.launch.libraries import Library, PackagedLibrary


@cmd_root.group("prototypes")
def cmd_prototypes() -> None:
    """List, show and make libraries of prototypes: structure types that a composition can adopt."""


@cmd_prototypes.command("list")
@JSON
@with_profile
def cmd_list(*, as_json: bool) -> None:
    """List the libraries of the profile, oldest first, and the packaged one."""
    from aiida_fuse2.launch.libraries import all_libraries, packaged_state

    found, state = all_libraries(), packaged_state()
    rows = [{"pk": lib.node.pk, "uuid": lib.node.uuid, "prototypes": lib.prototypes, **lib.source} for lib in found]
    if as_json:
        echo_json({"libraries": rows, "packaged": state})
        return
    for row in rows:
        echo(f"{row['pk']:>8}  {row['name']}  ({_described(row)})")
    if state != "stored":
        install = "pip install 'aiida-fuse2[prototypes]'"
        texts = {
            "missing": f"is not installed: {install}",
            "installed": f"is not built: the first search, or `{hint('prototypes build')}`, builds it",
            "built": "is built; the first search stores it in this profile",
        }
        echo(f"{'-':>8}  The packaged library {texts[state]}")


def _described(row: Mapping[str, Any]) -> str:
    """Return what a row of the list says about a library."""
    of = row.get("title") or f"{row.get('kind', 'unknown source')} {row.get('where', '')}".strip()
    licence = f", licence: {row['licence']}" if row.get("licence") else ""
    date = f", {row['date'][:10]}" if row.get("date") else ""
    return f"{row['prototypes']} prototypes, {of}{date}{licence}"


@cmd_prototypes.command("show")
@click.argument("library")
@click.option("--composition", metavar="FORMULA", help="Show the types that this composition can adopt.")
@MAX_ATOMS
@JSON
@with_profile
def cmd_show(*, library: str, composition: str | None, max_atoms: int | None, as_json: bool) -> None:
    """Show what LIBRARY (name or PK) holds: its source, and the number of prototypes by anonymous formula.

    With --composition: the types that it can adopt, chemically most similar first, and in each which element takes
    whose place.
    """
    from aiida_fuse2.launch.libraries import decorations_of, formulas, stored_library

    found = stored_library(library)
    if composition is None:
        if max_atoms is not None:
            raise click.UsageError("--max-atoms is about the types of a composition: give --composition, too")
        numbers = {_anonymous(counts): number for counts, number in formulas(found)}
        if as_json:
            echo_json({"pk": found.node.pk, "uuid": found.node.uuid, **found.source, "formulas": numbers})
            return
        _show_source(found)
        for formula, number in numbers.items():
            echo(f"{number:>8}  {formula}")
        return
    rows = [_row(decoration) for decoration in decorations_of(found, composition, max_atoms)]
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        echo(f"{row['distance']:>6.1f}  {row['type']}: {row['decoration']}  [{row['key']}]")
    types = len({row["key"] for row in rows})
    echo(f"{types} prototypes, {len(rows)} decorations; first: mean difference of the Mendeleev numbers")


def _show_source(library: Library) -> None:
    for key, value in library.source.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else value
        if shown not in {"", None}:
            echo(f"{key}: {shown}")
    echo(f"{library.prototypes} prototypes, by anonymous formula:")


def _anonymous(counts: Sequence[int]) -> str:
    """Return an anonymous formula, e.g. ``AB2C4``."""
    return "".join(f"{letter}{n if n > 1 else ''}" for letter, n in zip(ascii_uppercase, counts, strict=False))


def _row(decoration: Decoration) -> dict[str, Any]:
    prototype = decoration.prototype
    return {
        "key": prototype.key,
        "type": prototype.title,
        "label": prototype.label,
        "source": prototype.source,
        "atoms": len(prototype.atoms),
        "decoration": decoration.text,
        "distance": round(decoration.distance, 3),
    }


@cmd_prototypes.command("build")
@click.argument("name", required=False)
@click.option(
    "--from",
    "where",
    metavar="GROUP|ARCHIVE|FOLDER",
    help="Structures to make it of: a group, an AiiDA archive, which is not imported, or a file or folder of CIFs, "
    "POSCARs or extended XYZ. By default the packaged library is built anew.",
)
@JSON
@with_profile
def cmd_build(*, name: str | None, where: str | None, as_json: bool) -> None:
    """Make a library of prototypes, called NAME."""
    from aiida_fuse2.launch.libraries import build_packaged, make_library
    from aiida_fuse2.launch.library_sources import source_of

    if where is not None:
        _report(make_library(source_of(where, "--from"), option="--from", name=name, say=tell), as_json=as_json)
        return
    if name is not None:
        raise click.UsageError("NAME is about structures of your own: give --from, too")
    tell("The packaged library of prototypes is built: about half a minute")
    _report_packaged(build_packaged(), as_json=as_json)


def _report(library: Library, *, as_json: bool) -> None:
    node, source = library.node, library.source
    if as_json:
        left_out = [{"key": key, "reason": reason, "detail": detail} for key, reason, detail in library.left_out]
        values = {"pk": node.pk, "uuid": node.uuid, "is_new": library.is_new, "prototypes": library.prototypes}
        echo_json({**source, **values, "structures_left_out": left_out})
        return
    list_left_out(library)
    done = "made" if library.is_new else "is there already"
    number = f"{library.prototypes} of {source.get('structures', '?')} structures"
    echo(f"Library {node.label!r} {done}: {number}, PK {node.pk}")
    echo(f"Use it with `{hint(f'run SrTiO3 --prototypes {node.pk}')}`")


def _report_packaged(library: PackagedLibrary, *, as_json: bool) -> None:
    node, prototypes = library.node, library.entries - sum(library.refused.values())
    share = library.same_label / max(prototypes, 1)
    if as_json:
        values = {"pk": node.pk, "uuid": node.uuid, "is_new": library.is_new, "entries": library.entries}
        built = {"prototypes": prototypes, "left_out": library.refused, "same_label": library.same_label}
        echo_json({**library.source, **values, **built})
        return
    reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(library.refused.items()))
    echo(f"{prototypes} of {library.entries} entries built; left out: {reasons or 'none'}")
    echo(f"{share:.1%} have the label that they were built from")
    echo(f"Library {node.label!r}: PK {node.pk}")


@cmd_prototypes.command("fetch")
@click.argument("address")
@click.option("--filter", "query", metavar="TEXT", required=True, help='Filter of OPTIMADE, e.g. elements HAS "O".')
@click.option("--limit", type=int, metavar="N", help="Largest number of structures; 1000 by default.")
@click.option("--name", metavar="NAME", help="Name of the library.")
@JSON
@with_profile
def cmd_fetch(*, address: str, query: str, limit: int | None, name: str | None, as_json: bool) -> None:
    """Ask the OPTIMADE server at ADDRESS for structures, and make a library of them.

    No other server is asked, and none at any other time. Its address, the date, the filter and the licence that the
    provider states are stored with the library.
    """
    from aiida_fuse2.launch.libraries import make_library
    from aiida_fuse2.launch.optimade import DEFAULT_LIMIT, structures_of_server

    source = structures_of_server(address, query, DEFAULT_LIMIT if limit is None else limit)
    available = source.more["available"]
    if available is not None and available > (source.number or 0):
        tell(f"The server has {available} structures for this filter; {source.number} are taken")
    tell(f"Licence of the data: {source.more['licence']}")
    _report(make_library(source, option="ADDRESS", name=name, say=tell), as_json=as_json)
