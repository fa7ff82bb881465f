"""``aiida-fuse2 hull``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .files import check_output, write_page
from .options import HTML_PAGE, JSON, OVERWRITE_PAGE, SEARCHES, CommandError, echo_json, with_profile
from .root import cmd_root

if TYPE_CHECKING:
    from rich.table import Table

    from aiida_fuse2.report.hull import HullRow


@cmd_root.command("hull")
@SEARCHES
@click.option(
    "--end",
    "ends",
    multiple=True,
    metavar="FORMULA",
    help="End member that energies of formation refer to, one of the compositions searched; once for each. The "
    "elements by default, where they were searched.",
)
@HTML_PAGE
@OVERWRITE_PAGE
@JSON
@with_profile
def cmd_hull(
    *, searches: tuple[str, ...], ends: tuple[str, ...], output: Path | None, force: bool, as_json: bool
) -> None:
    """Show which compositions of a phase field are stable, by the lowest energies of their searches.

    Of several runs of a search, PK stands for all. All searches must have used the same potential. A composition
    that is not on the hull is shown with the mixture that is lower.
    """
    from aiida_fuse2 import query
    from aiida_fuse2.core.composition import parse_composition
    from aiida_fuse2.report.collect import search_figures
    from aiida_fuse2.report.hull import Phase, convex_hull
    from aiida_fuse2.report.hull_page import render_hull

    from .tables import make_console

    if output is not None:
        check_output(output, force=force)
    found = []
    for name in searches:
        node = query.load_search_or_runs(name)
        found += [search_figures(search) for search in query.single_searches(node)]
    potentials = list(dict.fromkeys(figures.potential for figures in found))
    if len(potentials) > 1:
        raise CommandError(f"the searches used different potentials ({'; '.join(potentials)}): not comparable")
    phases = [
        Phase(unit=parse_composition(figures.formula), energy=figures.energy, search=figures.pk)
        for figures in found
        if figures.energy is not None
    ]
    if not phases:
        raise CommandError("these searches have found no structure yet")
    hull = convex_hull(phases, ends)
    rows = hull.rows
    if output is not None:
        write_page(output, render_hull(hull, potential=potentials[0]))
    if as_json:
        echo_json([asdict(row) for row in rows])
    else:
        make_console().print(hull_table(rows))


def hull_table(rows: Sequence[HullRow]) -> Table:
    """Return the phases as a table, stable ones first and bold."""
    from rich.table import Table

    from .tables import coloured

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("composition")
    for title in ("E\neV/atom", "formation\neV/atom", "above hull\nmeV/atom"):
        table.add_column(title, justify="right")
    table.add_column("becomes")
    table.add_column("search", justify="right")
    for row in sorted(rows, key=lambda r: r.above):
        mixture = " + ".join(f"{part:.3f} {name}" for name, part in sorted(row.decomposition.items()))
        formation = "" if row.formation is None else f"{row.formation:z.4f}"
        name = coloured((row.formula, "bold")) if row.is_stable else row.formula
        values = (f"{row.energy:.4f}", formation, f"{1000 * row.above:.1f}")
        table.add_row(name, *values, "stable" if row.is_stable else mixture, str(row.search))
    return table
