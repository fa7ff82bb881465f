"""``aiida-fuse2 benchmark relax``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.benchmarks.defaults import defaults
from aiida_fuse2.cli.params.options import JSON, echo, echo_json
from aiida_fuse2.cli.views.tables import make_console

from .common import OUT, PLOT, TABLE, cmd_benchmark, quiet, read_place, require_rows, split_names

if TYPE_CHECKING:
    from aiida_fuse2.benchmarks.relaxation_report import MethodFigures
    from aiida_fuse2.benchmarks.relaxations import Starts
    from aiida_fuse2.benchmarks.results import RelaxationRow

RELAX = defaults("relax")

BOOTSTRAP_SEED = 1
"""The same rows give the same intervals."""


@cmd_benchmark.command("relax")
@click.argument("methods", nargs=-1)
@OUT
@click.option(
    "--starts",
    "places",
    multiple=True,
    metavar="COMPOSITION:ATOMS",
    help="Random starts of this composition with at most so many atoms; can be repeated. Default: "
    + " ".join(f"{formula}:{atoms}" for formula, atoms in RELAX["starts"].items())
    + ".",
)
@click.option("--generators", default=",".join(RELAX["generators"]), show_default=True, metavar="NAMES")
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=RELAX["count"],
    show_default=True,
    metavar="N",
    help="Starts of each composition and generator.",
)
@click.option("--seed", type=int, default=RELAX["seed"], show_default=True, metavar="N", help="Seed of the starts.")
@click.option(
    "--against",
    metavar="METHOD",
    help=f"Method that the table compares with.  [default: {RELAX['against']} where the file has it]",
)
@TABLE
@PLOT
@JSON
def cmd_relax(
    *,
    methods: tuple[str, ...],
    out: Path,
    places: tuple[str, ...],
    generators: str,
    count: int,
    seed: int,
    against: str | None,
    only_table: bool,
    plot_path: Path | None,
    as_json: bool,
) -> None:
    """Compare METHODS of relaxation with the reference recipe on the same random starts.

    A method is [CODE/]OPTIMISER[+symmetry]. CODE computes CHGNet 0.3.0: native (the default), avx512,
    avx2, baseline, torch or stock; the optimiser is JointLBFGS, reference (the three stages of the paper), an optimiser
    of ASE by its name in the settings, or CellAwareBFGS. JointLBFGS+symmetry keeps the symmetry of the start.
    Without METHODS: stock/reference and JointLBFGS.

    The table gives structures per CPU-hour, how many times more they are than those of the method compared with (95 %
    interval: bootstrap over the starts that both have), the median difference of the final energies, and failures.
    """
    with quiet():
        from aiida_fuse2.benchmarks.relaxations import Method, run_relaxations
        from aiida_fuse2.benchmarks.results import RelaxationRow, ResultsFile

        chosen = [Method.parse(name) for name in dict.fromkeys(methods or RELAX["methods"])]
        sets = _starts(places or [f"{f}:{n}" for f, n in RELAX["starts"].items()], generators, seed, count)
        file = ResultsFile(out, RelaxationRow)
        if only_table or plot_path is not None:
            require_rows(file.rows, out)
        else:
            file.check_writable()
            with redirect_stdout(sys.stderr):  # chgnet prints
                for news in run_relaxations(chosen, sets, file):
                    echo(news if isinstance(news, str) else _relaxation_news(news), err=True)
        _report_relaxations(file.rows, against, plot_path, show=only_table or plot_path is None, as_json=as_json)


def _starts(places: Sequence[str], generators: str, seed: int, count: int) -> list[Starts]:
    """Return the sets of starts that options ask for."""
    from aiida_fuse2.benchmarks.relaxations import Starts
    from aiida_fuse2.core.errors import InputError
    from aiida_fuse2.core.generators import single_generator

    if not split_names(generators):
        raise InputError("--generators", generators, "must be names of generators, e.g. fgen,symmetric")
    for name in split_names(generators):
        single_generator(name, where="--generators")
    sets = []
    for place in places:
        formula, atoms = read_place(place)
        if atoms is None:
            raise InputError("--starts", place, "must be COMPOSITION:ATOMS, e.g. SrTiO3:20")
        sets += [Starts(formula, atoms, generator, seed, count) for generator in split_names(generators)]
    for chosen in sets:
        chosen.check()
    return sets


def _relaxation_news(row: RelaxationRow) -> str:
    energy = "" if row.energy is None else f", {row.energy:.4f} eV/atom"
    return (
        f"{row.composition} {row.generator} {row.start} {row.method}: {row.status}{energy}, "
        f"{row.evaluations} evaluations, {row.cpu_seconds:.2f} CPU s"
    )


def _report_relaxations(
    rows: Sequence[RelaxationRow], against: str | None, plot_path: Path | None, *, show: bool, as_json: bool
) -> None:
    """Print the table of rows, draw them, or both."""
    import numpy as np

    from aiida_fuse2.benchmarks.relaxation_report import compare_methods

    if not rows:
        return
    present = {row.method for row in rows}
    base = against or (RELAX["against"] if RELAX["against"] in present else rows[0].method)
    figures = compare_methods(rows, base, np.random.default_rng(BOOTSTRAP_SEED))
    if plot_path is not None:
        from aiida_fuse2.benchmarks.plots import check_format, plot_relaxations, save

        check_format(plot_path)
        save(plot_relaxations(figures, base), plot_path)
    if show and as_json:
        echo_json([_plain_method(f) for f in figures])
    elif show:
        _print_relaxations(figures, base)


def _plain_method(figures: MethodFigures) -> dict[str, Any]:
    values = dataclasses.asdict(figures) | {"lower": figures.lower, "higher": figures.higher}
    del values["energy_differences"]
    return values


def _print_relaxations(figures: Sequence[MethodFigures], against: str) -> None:
    from aiida_fuse2.cli.views.benchmark_tables import potentials_text, relaxations_table

    console = make_console()
    console.print(relaxations_table(figures, against))
    text = potentials_text(figures)
    if text:
        console.print(f"\nComputed by: {text}")
