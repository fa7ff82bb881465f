"""``aiida-fuse2 benchmark csp``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.benchmarks.defaults import defaults
from aiida_fuse2.cli.params.options import JSON, CommandError, echo_json, set_option
from aiida_fuse2.cli.views.tables import make_console
from aiida_fuse2.core.errors import printable

from .common import (
    OUT,
    PROCESSES,
    PROTOTYPES,
    TABLE,
    add_answers,
    cmd_benchmark,
    cpu_seconds,
    quiet,
    require_rows,
    run_searches,
)

if TYPE_CHECKING:
    from aiida_fuse2.benchmarks.csp_entries import Entry
    from aiida_fuse2.benchmarks.csp_report import CspReport
    from aiida_fuse2.benchmarks.searches import SearchTask

CSP = defaults("csp")


@cmd_benchmark.command("csp")
@click.argument("entries_path", type=click.Path(path_type=Path), metavar="ENTRIES")
@OUT
@click.option(
    "--starts",
    default=CSP["starts"],
    show_default=True,
    metavar="NAMES",
    help="Generators of the starting structures, with their shares if there are several.",
)
@click.option(
    "--leave-out",
    type=click.Choice(["none", "compound", "type"]),
    default="none",
    show_default=True,
    help="Prototypes that are not used: those of the composition itself, or all of their types, too.",
)
@PROTOTYPES
@click.option(
    "--max-atoms",
    type=click.IntRange(1),
    default=CSP["max_atoms"],
    show_default=True,
    metavar="N",
    help="Most atoms of a structure; at least one formula unit.",
)
@click.option("--seed", type=click.IntRange(0), default=CSP["seed"], show_default=True, metavar="N")
@click.option("--protocol", default=CSP["protocol"], show_default=True, metavar="NAME")
@set_option("settings.pool.size=64")
@cpu_seconds(CSP["cpu_seconds"])
@click.option(
    "--structures",
    "structures_path",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Known structures, in files named by the identifier or the formula of their entry.",
)
@click.option(
    "--second",
    metavar="NAME",
    help="Second potential that orders the answer, as of 'aiida-fuse2 finish', installed in this environment.",
)
@PROCESSES
@TABLE
@JSON
def cmd_csp(
    *,
    entries_path: Path,
    out: Path,
    structures_path: Path | None,
    processes: int,
    only_table: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure how often a search finds the known space group of a composition in a given CPU time.

    ENTRIES is a CSV file with the columns material_id, pretty_formula, nsites (atoms of the known primitive cell),
    spacegroup and category, such as those of CSPBench. There is one search for each composition.

    A hit is the known space group (tolerance 0.1 Å) of the lowest, or one of the lowest five, different structures.
    The lowest ten are finished as well, and the table judges the phases of this answer in lines of their own. With
    --second, their order under a second potential has lines, too; searches in FILE are not repeated for it.
    With --structures, the table has matches with the known structures as well (StructureMatcher of pymatgen). Entries
    whose known cell has more than --max-atoms atoms are misses, and are not searched. Rates have exact 95 % intervals.

    Each miss has a cause: the limit of atoms; the potential (the space group was found, at a higher energy); the
    library (no prototype of this space group); or the search (none of these).

    With --table, ENTRIES, --structures, --max-atoms and --seed select what is shown; the other options have no effect.
    """
    with quiet():
        from aiida_fuse2.benchmarks.csp_entries import known_structures, read_entries
        from aiida_fuse2.benchmarks.csp_report import report_csp
        from aiida_fuse2.benchmarks.results import ResultsFile, SearchRow

        entries = read_entries(entries_path)
        structures = {} if structures_path is None else known_structures(structures_path, entries)
        file = ResultsFile(out, SearchRow)
        failed = 0
        if not only_table:
            file.check_writable()
            tasks = _csp_tasks(entries, options)
            with redirect_stdout(sys.stderr):  # chgnet prints
                add_answers(tasks, file)
                failed = run_searches(tasks, file, processes)
        report = report_csp(
            file.rows, entries, max_atoms=options["max_atoms"], seed=options["seed"], structures=structures
        )
        if only_table:
            require_rows(report.predictions, out)
        _report_csp(report, as_json=as_json)
        if failed:
            raise CommandError(f"{failed} of the searches failed; the others are in {printable(out)}")


def _csp_tasks(entries: Sequence[Entry], options: dict[str, Any]) -> list[SearchTask]:
    """Return the searches for all entries within the limit of atoms, each checked."""
    from aiida_fuse2.benchmarks.answers import second_settings
    from aiida_fuse2.benchmarks.csp_report import SYMPREC
    from aiida_fuse2.benchmarks.libraries import needs_library
    from aiida_fuse2.benchmarks.searches import SearchTask
    from aiida_fuse2.core.errors import InputError
    from aiida_fuse2.launch.overrides import merge_all, parse_assignment
    from aiida_fuse2.worker.software import weights_versions

    left_out = options["leave_out"]
    own = {"settings": {"prototypes": {"leave_out": left_out}}} if left_out != "none" else {}
    overrides = merge_all(*(parse_assignment(text) for text in options["assignments"]), own)
    tasks: list[SearchTask] = []
    for entry in entries:
        limit = entry.limit(options["max_atoms"])
        if entry.atoms > limit:
            continue
        task = SearchTask(
            composition=entry.unit.formula,
            max_atoms=limit,
            generator=options["starts"].replace(",", "+"),
            seed=options["seed"],
            protocol=options["protocol"],
            overrides=overrides,
            budget=options["cpu_seconds"],
            prototypes=options["prototypes"],
            finish=True,
            second=options["second"],
        )
        settings, tier = task.settings()
        if left_out != "none" and not needs_library(settings.starts):
            raise InputError("--leave-out", left_out, "needs starts from prototypes")
        if tier.report_symprec[1] != SYMPREC:
            expected = f"the second must be {SYMPREC:g}, the tolerance of the known space groups"
            raise InputError("relax.settings.report_symprec", tier.report_symprec, expected)
        if options["second"] and not tasks:
            weights_versions(second_settings(options["second"], tier))
        tasks.append(task)
    return tasks


def _report_csp(report: CspReport, *, as_json: bool) -> None:
    """Print the tables of predictions."""
    from aiida_fuse2.cli.views.benchmark_tables import csp_table, misses_table

    if as_json:
        echo_json(
            {
                "figures": [dataclasses.asdict(f) for f in report.figures],
                "predictions": [dataclasses.asdict(p) for p in report.predictions],
                "entries": report.entries,
                "potentials": list(report.potentials),
            }
        )
        return
    console = make_console()
    console.print(csp_table(report))
    if any(p.missed_first is not None for p in report.predictions):
        console.print()
        console.print(misses_table(report))
    console.print(
        f"\nRates in % with 95 % intervals, of {report.entries} entries. Potential: {', '.join(report.potentials)}"
    )
