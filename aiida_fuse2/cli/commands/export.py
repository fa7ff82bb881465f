"""``aiida-fuse2 export``."""

from __future__ import annotations

from pathlib import Path

import click

from aiida_fuse2.cli.params.options import NEWEST_SEARCH, echo, with_profile
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.utils.files import check_absent, reported_writing


@cmd_root.command("export")
@NEWEST_SEARCH
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The archive; by default named after composition and PK, as in SrTiO3_65.aiida.",
)
@click.option(
    "--best",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only the N best structures and everything that led to them. By default the whole search or refinement.",
)
@click.option("--force", is_flag=True, help="Overwrite files.")
@with_profile
def cmd_export(*, search: str | None, output: Path | None, best: int | None, force: bool) -> None:
    """Write the search PK, or all its runs, as an archive that others import; the newest one if PK is omitted.

    PK can be a refinement; its archive also holds the searches of its structures. All must have ended. Two more files
    are written: a description (.README.md), with numbers, versions and works to cite, and a configuration
    (.optimade.yaml) that serves the best structures with OPTIMADE.
    """
    from aiida_fuse2 import query
    from aiida_fuse2.export.archive import export as export_archive
    from aiida_fuse2.export.archive import paths_of
    from aiida_fuse2.query.results import settings_of

    node = query.load_results(search)
    archive = output or Path(f"{settings_of(node).unit.formula}_{node.pk}.aiida")
    with reported_writing(archive):
        check_absent(paths_of(archive), force=force)
        archive.parent.mkdir(parents=True, exist_ok=True)
        written = export_archive(node, archive, best=best, overwrite=force)
    for path in (written.archive, written.readme, written.optimade):
        echo(click.format_filename(path))
