"""``aiida-fuse2 benchmark search``."""

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
    PLOT,
    PROCESSES,
    PROTOTYPES,
    TABLE,
    cmd_benchmark,
    cpu_seconds,
    quiet,
    read_place,
    require_rows,
    run_searches,
    split_names,
)

if TYPE_CHECKING:
    from aiida_fuse2.benchmarks.results import SearchRow
    from aiida_fuse2.benchmarks.search_report import SearchReport
    from aiida_fuse2.benchmarks.searches import SearchTask

SEARCH = defaults("search")


@cmd_benchmark.command("search")
@click.argument("compositions", nargs=-1, metavar="[COMPOSITION[:ATOMS]]...")
@OUT
@click.option("--seeds", default=SEARCH["seeds"], show_default=True, metavar="SEEDS", help="Such as 1-3,7.")
@click.option(
    "--generators",
    default=",".join(SEARCH["generators"]),
    show_default=True,
    metavar="NAMES",
    help="Generators of the starting structures; a search for each. Several together: prototypes=0.5+fgen=0.5.",
)
@click.option("--protocol", default=SEARCH["protocol"], show_default=True, metavar="NAME")
@set_option("settings.acceptance.temperature=0.05")
@click.option(
    "--vary",
    "varied",
    multiple=True,
    metavar="KEY=[VALUES]",
    help="Compare values of an input, e.g. settings.walkers=[4,8]; can be repeated: all combinations.",
)
@cpu_seconds(SEARCH["cpu_seconds"])
@PROTOTYPES
@click.option(
    "--targets",
    "targets_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="YAML file with 'targets: {SrTiO3: -8.4236}', eV/atom. By default those of the paper under CHGNet 0.3.0.",
)
@PROCESSES
@TABLE
@PLOT
@JSON
def cmd_search(
    *,
    compositions: tuple[str, ...],
    out: Path,
    only_table: bool,
    plot_path: Path | None,
    targets_path: Path | None,
    processes: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure what searches for COMPOSITIONS find in a given CPU time.

    A composition can include the largest number of atoms of a structure: SrTiO3:20; else the protocol decides. Default:
    the eleven of the paper, and SrTiO3. There is a search for each composition, generator, seed and combination of
    settings.

    A search is at its target when it is at most 1 meV/atom above it. The table gives the lowest energies against the
    targets, CPU time and structures to the target (median of the searches that reached it) and the rate of searches
    that did (exact 95 % interval). The plot shows energies against CPU time.

    With --table or --plot, COMPOSITIONS and --targets select what is shown; the other options have no effect.
    """
    with quiet():
        from aiida_fuse2.benchmarks.defaults import read_targets
        from aiida_fuse2.benchmarks.results import ResultsFile, SearchRow

        targets = None if targets_path is None else read_targets(targets_path)
        file = ResultsFile(out, SearchRow)
        failed = 0
        if only_table or plot_path is not None:
            require_rows(file.rows, out)
        else:
            file.check_writable()
            tasks = _tasks(compositions or tuple(SEARCH["compositions"]), targets or read_targets(), options)
            with redirect_stdout(sys.stderr):  # chgnet prints
                failed = run_searches(tasks, file, processes)
        rows = _chosen(file.rows, compositions)
        if rows:
            target_of = _target_of(targets)
            _report_searches(rows, target_of, plot_path, show=only_table or plot_path is None, as_json=as_json)
        if failed:
            raise CommandError(f"{failed} of the searches failed; the others are in {printable(out)}")


def _target_of(targets: Any) -> Any:
    """Return the function that gives the target of a row: of the user's targets, or those of the searches."""
    from aiida_fuse2.benchmarks.search_report import own_target

    return own_target if targets is None else lambda row: targets.of(row.composition)


def _tasks(compositions: Sequence[str], targets: Any, options: dict[str, Any]) -> list[SearchTask]:
    """Return the searches that options ask for, each checked."""
    from aiida_fuse2.benchmarks.arguments import expand, parse_numbers
    from aiida_fuse2.benchmarks.searches import SearchTask, target_of
    from aiida_fuse2.core.errors import InputError
    from aiida_fuse2.launch.overrides import merge_all, parse_assignment

    fixed = merge_all(*(parse_assignment(text) for text in options["assignments"]))
    combinations = expand([parse_assignment(text) for text in options["varied"]])
    generators = split_names(options["generators"])
    if not generators:
        raise InputError("--generators", options["generators"], "must be names of generators, e.g. fgen,symmetric")
    seeds = parse_numbers(options["seeds"])
    tasks = []
    for formula, atoms in dict.fromkeys(read_place(text) for text in compositions):
        for seed in seeds:
            for generator in generators:
                for changes in combinations:
                    task = SearchTask(
                        composition=formula,
                        max_atoms=atoms,
                        generator=generator,
                        seed=seed,
                        protocol=options["protocol"],
                        overrides=merge_all(fixed, changes),
                        budget=options["cpu_seconds"],
                        prototypes=options["prototypes"],
                    )
                    settings, tier = task.settings()
                    tasks.append(dataclasses.replace(task, target=target_of(settings, tier, targets)))
    return tasks


def _chosen(rows: Sequence[SearchRow], compositions: Sequence[str]) -> list[SearchRow]:
    """Return the rows of compositions; all rows if none is named."""
    from aiida_fuse2.benchmarks.arguments import parse_place

    places = [parse_place(text) for text in compositions]
    if not places:
        return list(rows)
    return [r for r in rows if any(r.composition == f and n in {None, r.max_atoms} for f, n in places)]


def _report_searches(
    rows: Sequence[SearchRow], target_of: Any, plot_path: Path | None, *, show: bool, as_json: bool
) -> None:
    """Print the table of rows, draw them, or both."""
    from aiida_fuse2.benchmarks.search_report import report_searches

    report = report_searches(rows, target_of)
    if plot_path is not None:
        from aiida_fuse2.benchmarks.plots import check_format, plot_searches, save

        check_format(plot_path)
        save(plot_searches(report, target_of), plot_path)
    if show and as_json:
        echo_json(
            {
                "searches": [dataclasses.asdict(f) for f in report.figures],
                "settings": [dataclasses.asdict(s) for s in report.settings],
                "survival": [dataclasses.asdict(s) for s in report.survival],
            }
        )
    elif show:
        _print_searches(report)


def _print_searches(report: SearchReport) -> None:
    from aiida_fuse2.cli.views.benchmark_tables import searches_table, success_table, survival_table

    console = make_console()
    console.print(searches_table(report))
    if report.settings:
        console.print()
        console.print(success_table(report))
        if report.survival:
            console.print()
            console.print(survival_table(report))
        names = ", ".join(report.reached) or "none"
        console.print(f"\nAt target with the better setting: {len(report.reached)} of {report.compositions} ({names})")
