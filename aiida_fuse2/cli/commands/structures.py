"""``aiida-fuse2 structures``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from aiida_fuse2.cli.params.options import JSON, NEWEST_SEARCH, PATTERN, CommandError, echo, echo_json, with_profile
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.utils.files import check_absent, reported_writing
from aiida_fuse2.cli.utils.patterns import pattern_order

FORMATS = ("cif", "poscar", "extxyz")


@cmd_root.command("structures")
@NEWEST_SEARCH
@click.option(
    "-n",
    "--number",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    metavar="N",
    help="Number of structures.",
)
@click.option("--format", "file_format", type=click.Choice(FORMATS), default="cif", show_default=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Directory for the files, made if missing; by default the present one.",
)
@click.option(
    "--symprec",
    type=click.FloatRange(min=0, min_open=True, max=1),
    metavar="Å",
    help="Move atoms to the symmetry found at this tolerance (Å): a CIF then has its space group, a POSCAR or "
    "extxyz the primitive cell; implies --as-relaxed.",
)
@click.option(
    "--as-relaxed", is_flag=True, help="Write the structures of the search, as they were relaxed, instead of phases."
)
@PATTERN
@click.option("--force", is_flag=True, help="Overwrite files.")
@JSON
@with_profile
def cmd_structures(
    *,
    search: str | None,
    number: int,
    file_format: str,
    output: Path,
    symprec: float | None,
    as_relaxed: bool,
    pattern: Path | None,
    wavelength: str,
    rank_by: str,
    force: bool,
    as_json: bool,
) -> None:
    """Write the phases of the search or refinement PK, or of all runs, to files: conventional cells, symmetrised.

    The newest search is taken if PK is omitted. The names of files have composition, space group and structure type,
    as in SrTiO3_Pm-3m_Cubic-Perovskite.cif. A table, SrTiO3_phases.csv, has one row for each of them: energies, space
    group, structure type, cell, density and what is said about it.

    Without an answer (`aiida-fuse2 finish`), and with --as-relaxed, the best structures are written as they were
    relaxed, in P1; those of a refinement are of its last tier. Their names have composition,
    rank, space group and energy (eV/atom), as in SrTiO3_01_Pm-3m_-8.4236.cif. The space group is the one found at
    --symprec, or at the loose tolerance of the search (0.1 Å unless set).
    """
    from aiida_fuse2 import query
    from aiida_fuse2.query import finishes
    from aiida_fuse2.query.ranking import best_of
    from aiida_fuse2.query.results import kind_of, settings_of

    order = pattern_order(pattern, wavelength, rank_by)
    node = query.load_results(search)
    finish = None if as_relaxed or symprec is not None else finishes.newest_finish(node)
    if finish is not None:
        from aiida_fuse2.export.structures import phase_table, phase_texts

        rows = finishes.phases(finish)
        rows = (rows if order is None else order.applied(rows, number))[:number]
        texts = phase_texts(rows, file_format)
        table = [phase_table(rows, [name for name, _ in texts])] if rows else []
        paths = _write(output, [*texts, *table], force=force, is_quiet=as_json)[: len(rows)]
        if as_json:
            echo_json([{"path": str(path), **row} for path, row in zip(paths, rows, strict=True)])
        else:
            echo(
                f"Symmetrised phases of finish {finish.pk}; --as-relaxed writes the structures of the search", err=True
            )
        return
    rows = best_of(node, number if order is None else max(number, order.ranked))
    rows = (rows if order is None else order.applied(rows, number))[:number]
    if not rows:
        raise CommandError(f"the {kind_of(node)} {node.pk} has no structure yet")
    formula = settings_of(node).unit.formula
    texts = [_content(formula, row, file_format, symprec) for row in rows]
    paths = _write(output, texts, force=force, is_quiet=as_json)
    relaxed = query.relaxed_to(node)
    if as_json:
        echo_json([{"path": str(path), **row, "relaxed_to": relaxed} for path, row in zip(paths, rows, strict=True)])
    else:
        echo(f"All were {relaxed}", err=True)


def _write(output: Path, texts: Sequence[tuple[str, str]], *, force: bool, is_quiet: bool) -> list[Path]:
    """Write files and return their paths.

    Args:
        output: directory.
        texts: name and content of each file.
        force: whether to overwrite files.
        is_quiet: whether not to print the paths.
    """
    paths = [output / name for name, _ in texts]
    with reported_writing(output):
        new = [path for path, (_, text) in zip(paths, texts, strict=True) if not _holds(path, text)]
        check_absent(new, force=force)
        output.mkdir(parents=True, exist_ok=True)
        for path, (_, text) in zip(paths, texts, strict=True):
            path.write_text(text)
            if not is_quiet:
                echo(click.format_filename(path))
    return paths


def _holds(path: Path, text: str) -> bool:
    """Return whether a file has a content already, as the table of phases that another format was written with."""
    return path.is_file() and path.read_bytes() == text.encode()


def _content(formula: str, row: Mapping[str, Any], file_format: str, symprec: float | None) -> tuple[str, str]:
    """Return name and content of a file; a structure that would become another crystal stays as relaxed."""
    from aiida_fuse2.core.crystal.symmetry import SymmetryError
    from aiida_fuse2.export.structures import file_name, to_text

    try:
        text = to_text(row, file_format, symprec=symprec)
    except SymmetryError as error:
        if symprec is None:
            raise CommandError(f"structure {row['rank']} cannot be written: {error.detail}") from error
        echo(f"structure {row['rank']} is written as relaxed, in P1: {error.detail}", err=True)
        return _content(formula, row, file_format, None)
    return file_name(formula, row, file_format, symprec=symprec), text
