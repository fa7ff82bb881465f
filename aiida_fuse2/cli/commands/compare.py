"""``aiida-fuse2 compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_fuse2.cli.params import options as opts
from aiida_fuse2.cli.params.options import CommandError, echo, echo_json, with_profile
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.utils.files import check_output, write_page

if TYPE_CHECKING:
    from aiida import orm
    from rich.table import Table

    from aiida_fuse2.report.comparison import ExperimentFigures, SearchFigures
    from aiida_fuse2.report.paper_tables import PaperTable


BASELINE = "fgen"
"""Experiment that the paper compares speeds with."""


@cmd_root.command("compare")
@opts.SEARCHES
@click.option(
    "--baseline",
    metavar="PK",
    help="Search or refinement with the experiment that speeds are compared with; if omitted that of the paper, fgen, "
    "or the first.",
)
@click.option("--tables", "as_tables", is_flag=True, help="Print the tables of the paper, as it lays them out.")
@opts.HTML_PAGE
@opts.OVERWRITE_PAGE
@opts.JSON
@with_profile
def cmd_compare(
    *,
    searches: tuple[str, ...],
    baseline: str | None,
    as_tables: bool,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Compare searches by speed and lowest energy, as tables 1 to 6 of the paper do.

    PK can be a refinement; of several runs of a search (`run --runs`), it stands for all. Searches with the same starts
    and the same potentials in all tiers are one experiment, which has the name by which `run --experiment` set it up;
    so are their refinements with the same tiers. Energies are compared between those with the same potential in the
    last tier only; times are CPU times of relaxations.
    """
    from aiida_fuse2 import query
    from aiida_fuse2.cli.views.tables import make_console
    from aiida_fuse2.query.results import load_single_results, settings_of
    from aiida_fuse2.report.collect import search_figures
    from aiida_fuse2.report.comparison import compare, values
    from aiida_fuse2.report.comparison_page import render_comparison
    from aiida_fuse2.report.paper_tables import paper_tables

    if output is not None:
        check_output(output, force=force)
    nodes: dict[int, orm.WorkChainNode] = {}
    for name in searches:
        node = query.load_results(name)
        nodes |= {search.pk: search for search in query.single_searches(node)}
    figures = [search_figures(node) for node in nodes.values()]
    if not figures:
        raise CommandError("no search has begun yet")
    first = _baseline(figures, load_single_results(baseline).pk if baseline else None)
    tolerance = settings_of(next(iter(nodes.values()))).acceptance.energy_tolerance
    table = compare(figures, baseline=first, tolerance=tolerance)
    if output is not None:
        write_page(output, render_comparison(figures, table, baseline=first, tolerance=tolerance))
    tables = paper_tables(table, baseline=first)
    if as_json:
        echo_json({"baseline": first, **values(figures, table), "tables": [one.as_values() for one in tables]})
    elif as_tables:
        for one in tables:
            echo(f"\n{one.title}")
            make_console().print(paper_table(one))
    else:
        make_console().print(experiments_table(table))


def _baseline(figures: Sequence[SearchFigures], pk: int | None) -> str:
    """Return the title of the experiment of a search that is among those compared, or that of the paper's baseline."""
    from aiida_fuse2.report.comparison import titles

    named = titles(figures)
    if pk is None:
        return BASELINE if BASELINE in named.values() else named[figures[0].pk]
    if pk in named:
        return named[pk]
    raise CommandError(f"--baseline {pk} is not one of the searches that are compared", opts.BAD_INPUT)


def experiments_table(rows: Sequence[ExperimentFigures]) -> Table:
    """Return the figures of experiments as a table; the lowest energies are bold."""
    from aiida_fuse2.cli.views.tables import coloured, plain_table

    titles = ("searches", "structures", "s/structure", "speed-up", "E\neV/atom", "gain\nmeV/atom", "found", "after")
    table = plain_table([("composition", False), ("experiment", False), *((title, True) for title in titles)])
    for row in rows:
        energy = _number(row.energy, 4)
        table.add_row(
            row.formula,
            row.experiment,
            str(len(row.searches)),
            str(row.tried),
            _number(row.seconds, 2),
            _number(row.speedup, 2),
            coloured((energy, "bold")) if row.is_lowest else energy,
            _number(row.improvement, 1),
            f"{row.reached} of {len(row.searches)}",
            "" if row.structures is None else f"{row.structures:g}",
        )
    return table


def paper_table(table: PaperTable) -> Table:
    """Return a table of the paper; what it prints in bold is bold."""
    from aiida_fuse2.cli.views.tables import coloured, plain_table

    shown = plain_table([("composition", False), *((column, True) for column in table.columns)])
    for line, (formula, cells) in enumerate(table.rows):
        texts = [_number(value, table.digits) for value in cells]
        shown.add_row(
            formula,
            *(coloured((text, "bold")) if (line, place) in table.bold else text for place, text in enumerate(texts)),
        )
    return shown


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
