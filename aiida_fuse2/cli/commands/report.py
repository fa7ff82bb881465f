"""``aiida-fuse2 report``."""

from __future__ import annotations

from pathlib import Path

import click

from aiida_fuse2.cli.params.options import NEWEST_SEARCH, OVERWRITE_PAGE, WAVELENGTH, echo, with_profile
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.utils.files import check_output, write_page


@cmd_root.command("report")
@NEWEST_SEARCH
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The page.",
)
@click.option(
    "-n",
    "--number",
    type=click.IntRange(min=1, max=1000),
    default=50,
    show_default=True,
    metavar="N",
    help="Number of best structures that are drawn and can be downloaded as CIF; the table has all structures.",
)
@click.option(
    "--xrd",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Measured powder pattern: two theta and intensity in two columns. The drawn structures are compared with the "
    "first. Can be repeated.",
)
@WAVELENGTH
@click.option(
    "--target",
    "targets",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Known structure (CIF, POSCAR or extxyz), besides the targets of the search: it is marked if it was found, "
    "and its pattern is drawn. Can be repeated.",
)
@OVERWRITE_PAGE
@with_profile
def cmd_report(
    *,
    search: str | None,
    output: Path,
    number: int,
    xrd: tuple[Path, ...],
    wavelength: str,
    targets: tuple[Path, ...],
    force: bool,
) -> None:
    """Write the search PK (the newest one if omitted) as one HTML page with plots, tables and crystals.

    PK can be a refinement. The page opens from disk and needs no network. It can be made while the search runs.
    """
    from aiida_fuse2.query.results import load_single_results
    from aiida_fuse2.report.collect import collect
    from aiida_fuse2.report.page import render
    from aiida_fuse2.report.patterns import parse_wavelength

    node = load_single_results(search)
    check_output(output, force=force)
    data = collect(node, number=number, xrd=xrd, wavelength=parse_wavelength(wavelength), targets=targets)
    write_page(output, render(data))
    echo(click.format_filename(output))
