"""The details of one phase: its cell, its Wyckoff positions, the structures it comes from, and their rungs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aiida_fuse2.cli.params.options import CommandError, echo_json, hint
from aiida_fuse2.core.answer.answers import readable_rows, readable_sites
from aiida_fuse2.core.answer.description import CELL_PARAMETERS, MOMENTS_NOTE
from aiida_fuse2.core.answer.ladder import MEASURED

if TYPE_CHECKING:
    from aiida import orm
    from rich.table import Table


def show_phase(node: orm.WorkChainNode, rank: int, *, as_json: bool) -> None:
    """Show the details of a phase of an answer.

    Args:
        node: a finish, or a search, runs or a refinement, whose newest finish is taken.
        rank: rank of the phase.
        as_json: whether to print JSON.

    Raises:
        CommandError: if there is no such phase.
    """
    from aiida_fuse2.query import finishes
    from aiida_fuse2.query.refinements import FINISH_TYPE

    from .tables import make_console

    finish = node if node.process_type == FINISH_TYPE else finishes.newest_finish(node)
    if finish is None:
        raise CommandError(f"{node.pk} has no answer yet; `{hint(f'finish {node.pk}')}` finds it")
    rows = finishes.phases(finish)
    row = next((row for row in rows if row["rank"] == rank), None)
    if row is None:
        raise CommandError(f"the answer (finish {finish.pk}) has {len(rows)} phases; there is no phase {rank}")
    members = finishes.members(finish, row)
    if as_json:
        echo_json({**row, "finish": finish.pk, "members": members})
        return
    console = make_console()
    console.print(f"phase {rank} of finish {finish.pk}, {finishes.program(finish)}", soft_wrap=True)
    for line in _facts(row):
        console.print(line, soft_wrap=True)
    console.print("\nWyckoff positions of the conventional cell")
    sites = readable_sites(row)
    console.print(_sites(sites))
    if any(site["moment"] is not None for site in sites):
        console.print(MOMENTS_NOTE, soft_wrap=True)
    console.print("\nstructures that it was found as, as they were relaxed")
    console.print(_members(members))
    console.print("\nrungs: symmetrised at rising tolerances")
    console.print(_rungs(row))


def cell_text(values: Mapping[str, Any]) -> str:
    """Return edges and angles of a cell as text."""
    edges, angles = ([float(values[name]) for name in names] for names in (CELL_PARAMETERS[:3], CELL_PARAMETERS[3:]))
    return f"{', '.join(f'{x:.3f}' for x in edges)} Å; {', '.join(f'{x:.2f}' for x in angles)}°"


def _facts(row: Mapping[str, Any]) -> Iterator[str]:
    from .tables import spacegroup_text

    yield str(row["statement"])
    yield f"{row['energy']:.4f} eV/atom, {1000 * row['delta']:.1f} meV/atom above the lowest phase"
    yield f"{spacegroup_text(row['spacegroup_symbol'], row['spacegroup'])}, {row['type']}"
    yield f"conventional cell: {cell_text(row)}; {row['n_atoms_conventional']} atoms, Z = {row['z']}"
    yield f"primitive cell: {row['n_atoms']} atoms, {row['volume']:.2f} Å³; density {row['density']:.2f} g/cm³"


def _sites(sites: Sequence[Mapping[str, Any]]) -> Table:
    from .tables import plain_table

    has_moments = any(site["moment"] is not None for site in sites)
    titles = [("atom", False), ("position", False), ("x", True), ("y", True), ("z", True), ("neighbours", False)]
    table = plain_table([*titles, *([("moment, μB", True)] if has_moments else [])])
    for site in sites:
        cells = [site["element"], f"{site['multiplicity']}{site['letter']}"]
        cells += [f"{x:.4f}" for x in site["coordinates"]]
        moment = "" if site["moment"] is None else f"{site['moment']:.2f}"
        table.add_row(*cells, site["coordination"], *([moment] if has_moments else []))
    return table


def _members(members: Sequence[Mapping[str, Any]]) -> Table:
    from .tables import plain_table

    titles = ("rank", "E, eV/atom", "found", "atoms")
    table = plain_table([(title, True) for title in titles] + [("cell", False), ("label", False), ("PK", True)])
    for member in members:
        table.add_row(
            str(member["rank"]),
            f"{member['energy']:.4f}",
            str(member["found"]),
            "" if member["n_atoms"] is None else str(member["n_atoms"]),
            "" if member["n_atoms"] is None else cell_text(member),
            str(member["label"]),
            "" if member["pk"] is None else str(member["pk"]),
        )
    return table


def _rungs(row: Mapping[str, Any]) -> Table:
    from .tables import plain_table, spacegroup_text

    names = {member["member"]: str(member["rank"]) for member in readable_rows(row.get("members"), ("member",))}
    titles = [("rank", True), ("space group", False), ("tolerance, Å", True), ("ΔE, meV/atom", True)]
    table = plain_table([*titles, ("displaced, Å", True), ("evaluations", True), ("", False)])
    for rung in readable_rows(row.get("rungs"), ("member", "symbol"), ("number", *MEASURED)):
        table.add_row(
            names.get(rung["member"], ""),
            spacegroup_text(rung["symbol"], rung["number"]),
            f"{rung['tolerance']:.2f}" if rung["tolerance"] else "as relaxed",
            f"{1000 * (rung['energy'] - row['energy']):.1f}",
            f"{rung['displacement']:.3f}",
            str(rung["evaluations"]),
            "answer" if rung.get("is_answer") else "",
        )
    return table
