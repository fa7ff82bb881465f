"""``aiida-fuse2 hull``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.cli.params import options as opts
from aiida_fuse2.cli.params.options import CommandError, echo, echo_json, with_profile
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.utils.files import check_output, write_page
from aiida_fuse2.cli.utils.filling import fill

if TYPE_CHECKING:
    from aiida import orm
    from rich.table import Table

    from aiida_fuse2.report.comparison import SearchFigures
    from aiida_fuse2.report.hull import Hull, HullRow


@cmd_root.command("hull")
@opts.SEARCHES
@click.option(
    "--end",
    "ends",
    multiple=True,
    metavar="FORMULA",
    help="End member that energies of formation refer to, one of the compositions searched; once for each. By default "
    "the elements, or the ends of the line on which three or more compositions lie; without them there is no hull.",
)
@click.option(
    "--fill",
    "is_filled",
    is_flag=True,
    help="Search the phases that compete, too: short searches with the same potential of the elements, of salts of two "
    "of them, and of compounds in libraries of prototypes. What this profile has searched already is taken.",
)
@click.option("--code", "code_label", metavar="LABEL", help="Worker of --fill, if not that of the search.")
@opts.set_option("settings.max_structures=60, with --fill")
@click.option("--trust", is_flag=True, help="With --fill: run what the search names and has never run in this profile.")
@click.option("--wait/--no-wait", default=True, help="With --fill: whether to wait for the searches and show the hull.")
@click.option("--dry-run", is_flag=True, help="With --fill: say what would be searched and its cost; submit nothing.")
@opts.HTML_PAGE
@opts.OVERWRITE_PAGE
@opts.JSON
@with_profile
def cmd_hull(
    *,
    searches: tuple[str, ...],
    ends: tuple[str, ...],
    is_filled: bool,
    code_label: str | None,
    assignments: tuple[str, ...],
    trust: bool,
    wait: bool,
    dry_run: bool,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Show which compositions of a phase field are stable, by the lowest energies of their searches.

    PK can be a refinement; of several runs of a search, it stands for all. All must have used the same potential at the
    same pressure; where a second one orders the answers of all, its energies are taken. A composition that is not on
    the hull is shown with the mixture that is lower. Searches that have found nothing, or only a higher energy than
    another one, are omitted and named.

    With --fill, the hull is that of the whole chemical system, and each named composition has a sentence: stable
    against what, or how far above which mixture. Interrupted, the same command goes on with what is missing.
    """
    from aiida_fuse2 import query
    from aiida_fuse2.cli.views.tables import make_console
    from aiida_fuse2.core.chemistry.composition import parse_composition
    from aiida_fuse2.core.errors import InputError
    from aiida_fuse2.report.collect import search_figures
    from aiida_fuse2.report.hull import Phase, convex_hull
    from aiida_fuse2.report.hull_page import render_hull

    if output is not None:
        check_output(output, force=force)
    loaded = [query.load_results(name) for name in searches]
    of_named = {single.pk: (single, node) for node in loaded for single in query.single_searches(node)}
    found = [search_figures(single) for single, _ in of_named.values()]
    named = list(dict.fromkeys(figures.formula for figures in found)) if is_filled else []
    others: list[orm.WorkChainNode] = []
    if is_filled:
        if not found:
            raise CommandError("none of these runs has begun a search")
        _only_potential(found)
        options: dict[str, Any] = {"code_label": code_label, "assignments": assignments, "trust": trust}
        first = next(iter(of_named.values()))[0]
        filled = fill(first, named, wait=wait, dry_run=dry_run, as_json=as_json, **options)
        if filled is None:
            return
        others = [node for node in filled if node.pk not in of_named]
    elif dry_run or trust or assignments or code_label is not None:
        raise click.UsageError("--dry-run, --trust, --set and --code need --fill")
    everything = [*found, *(search_figures(node) for node in others)]
    places = of_named | {node.pk: (node, node) for node in others}
    everything, potential, told = _by_second(everything, places)
    found = [figures for figures in everything if figures.pk in of_named]
    found += _lowest([figures for figures in everything if figures.pk not in of_named], found)
    phases = [
        Phase(unit=parse_composition(figures.formula), energy=figures.energy, search=figures.pk)
        for figures in found
        if figures.energy is not None
    ]
    if not phases:
        raise CommandError("these searches have found no structure yet")
    try:
        hull = convex_hull(phases, ends)
    except InputError:
        for note in _notes(found, {phase.search for phase in phases}):
            echo(note, err=True)
        raise
    rows = hull.rows
    notes = [*told, *_notes(found, {row.search for row in rows})]
    if output is not None:
        write_page(output, render_hull(hull, potential=potential, notes=notes))
    if as_json:
        echo_json([asdict(row) | {"is_end": row.is_end} for row in rows])
    else:
        make_console().print(hull_table(rows))
    for line in (f"End members: {', '.join(hull.ends)}", *notes, *_sentences(hull, named)):
        echo(line, err=as_json)


def _by_second(
    found: Sequence[SearchFigures], places: Mapping[int, tuple[orm.WorkChainNode, orm.WorkChainNode]]
) -> tuple[list[SearchFigures], str, list[str]]:
    """Return energies of one potential: of a second one if it has ordered the answers of all compositions.

    Args:
        found: searches with the energies of their own potential.
        places: each search, and what it was named by, by primary key: an answer of several runs is that of each.

    Returns:
        The searches, the potential, and what is said about the choice.

    Raises:
        CommandError: if no second potential has all, and the searches have used different ones.
    """
    from aiida_fuse2.query.finishes import newest_finish
    from aiida_fuse2.query.results import REFINEMENT
    from aiida_fuse2.report.collect import second_figures

    wanted = {figures.formula for figures in found if figures.energy is not None}
    by_name: dict[str, list[SearchFigures]] = {}
    for figures in found:
        single, node = places[figures.pk]
        finish = None if figures.kind == REFINEMENT else newest_finish(single) or newest_finish(node)
        second = second_figures(figures, finish)
        if second is not None:
            by_name.setdefault(second.potential, []).append(second)
    for name, own in by_name.items():
        if {figures.formula for figures in own} == wanted:
            have = {figures.pk for figures in own}
            left = [f"{f.kind} {f.pk} ({f.formula})" for f in found if f.pk not in have and f.energy is not None]
            told = [f"Left out: {', '.join(left)}, no energy of {name}"] if left else []
            kept = [*own, *(figures for figures in found if figures.energy is None)]
            return kept, name, [f"Energies: {name}, which orders the answer of each search", *told]
    potential = _only_potential(found)
    told = []
    if by_name:
        name, own = max(by_name.items(), key=lambda item: len(item[1]))
        without = ", ".join(sorted(wanted - {figures.formula for figures in own}))
        told = [f"Energies: {potential}; {name}, which orders answers, has none of {without}: see `finish --second`"]
    return list(found), potential, told


def _lowest(others: Sequence[SearchFigures], found: Sequence[SearchFigures]) -> list[SearchFigures]:
    """Return the lowest search of each composition that was not named, all of them where none has a structure."""
    have = {figures.pk for figures in found}
    of_formula: dict[str, list[SearchFigures]] = {}
    for figures in others:
        if figures.pk not in have:
            of_formula.setdefault(figures.formula, []).append(figures)
    kept: list[SearchFigures] = []
    for each in of_formula.values():
        with_energy = [figures for figures in each if figures.energy is not None]
        kept += sorted(with_energy, key=lambda figures: figures.energy or 0.0)[:1] or each
    return kept


def _sentences(hull: Hull, formulas: Sequence[str]) -> list[str]:
    """Return what the hull says about each of some compositions that it has."""
    from aiida_fuse2.core.chemistry.composition import parse_composition
    from aiida_fuse2.core.prototypes.competing import key_of
    from aiida_fuse2.report.stability import stability_text

    wanted = {key_of(parse_composition(formula)) for formula in formulas}
    present = [row.formula for row in hull.rows if key_of(parse_composition(row.formula)) in wanted]
    return [stability_text(hull, formula) for formula in present]


def _only_potential(found: Sequence[SearchFigures]) -> str:
    """Return the potential of all searches."""
    used: dict[str, list[str]] = {}
    for figures in found:
        used.setdefault(figures.potential, []).append(str(figures.pk))
    if len(used) > 1:
        each = "; ".join(f"{potential}: {', '.join(pks)}" for potential, pks in used.items())
        raise CommandError(f"the searches used different potentials ({each}): not comparable, omit some of them")
    return next(iter(used), "")


def _notes(found: Sequence[SearchFigures], kept: Collection[int]) -> list[str]:
    """Return which searches were omitted and why, and which of the others have not ended well.

    Args:
        found: all of them.
        kept: primary keys of those that gave an energy.
    """
    from aiida_fuse2 import query
    from aiida_fuse2.query import refinements
    from aiida_fuse2.query.results import REFINEMENT

    notes = []
    for figures in found:
        name = f"{figures.kind} {figures.pk} ({figures.formula})"
        is_refinement = figures.kind == REFINEMENT
        reached = refinements.progress(figures.pk) if is_refinement else query.progress(figures.pk)
        state = "has failed" if reached.has_failed else "" if reached.is_terminated else "has not ended"
        if figures.energy is None:
            notes.append(f"Left out: {name}, no structure found" + (f"; it {state}" if state else ""))
        elif figures.pk not in kept:
            notes.append(f"Left out: {name}, another one for this composition is as low or lower")
        elif state:
            notes.append(f"Note: {name} {state}: the energy may not be its lowest")
    return notes


def hull_table(rows: Sequence[HullRow]) -> Table:
    """Return the table of phases, stable ones first and bold."""
    from aiida_fuse2.cli.views.tables import coloured, plain_table

    numbers = [(title, True) for title in ("E\neV/atom", "formation\neV/atom", "above hull\nmeV/atom")]
    table = plain_table([("composition", False), *numbers, ("becomes", False), ("search", True)])
    for row in sorted(rows, key=lambda r: r.above):
        mixture = " + ".join(f"{part:.3f} {name}" for name, part in sorted(row.decomposition.items()))
        formation = "" if row.formation is None else f"{row.formation:z.4f}"
        name = coloured((row.formula, "bold")) if row.is_stable else row.formula
        values = (f"{row.energy:.4f}", formation, f"{1000 * row.above:.1f}")
        stable = "stable (end member)" if row.is_end else "stable"
        table.add_row(name, *values, stable if row.is_stable else mixture, str(row.search))
    return table
