"""``aiida-fuse2 benchmark potentials``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_fuse2.cli.params.options import JSON, CommandError, echo, echo_json, set_option
from aiida_fuse2.cli.views.tables import make_console
from aiida_fuse2.core.errors import printable

from .common import OUT, TABLE, cmd_benchmark, quiet, require_rows, split_names

if TYPE_CHECKING:
    from aiida_fuse2.benchmarks.potential_report import PotentialReport
    from aiida_fuse2.benchmarks.potentials import Potential
    from aiida_fuse2.benchmarks.results import PotentialRow


@cmd_benchmark.command("potentials")
@click.argument("compounds", nargs=-1)
@OUT
@click.option(
    "--models",
    metavar="NAMES",
    help="Potentials, by the names of `aiida-fuse2 model list`, files, or import paths of ASE calculator classes.  "
    "[default: of each family that is installed here, the first]",
)
@click.option(
    "--python",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Python of the environment that has the potentials.  [default: that of this command]",
)
@set_option("relax.settings.backend=torch")
@TABLE
@JSON
def cmd_potentials(
    *,
    compounds: tuple[str, ...],
    out: Path,
    models: str | None,
    python: Path | None,
    assignments: tuple[str, ...],
    only_table: bool,
    as_json: bool,
) -> None:
    """Measure what potentials cost, and whether they put known polymorphs in the right order.

    For each potential: the CPU time of an evaluation of 2, 8, 24 and 50 atoms with one thread, and relaxations of the
    polymorphs of COMPOUNDS, by default TiO2, SiO2, ZnS, Al2O3, SnS, MnO2, CaCO3, Fe2O3, BN and C. The tables say what
    they cost, and where the structure that is stable in experiment stands.
    """
    with quiet():
        from aiida_fuse2.benchmarks.polymorphs import choose_compounds
        from aiida_fuse2.benchmarks.potential_report import report_potentials
        from aiida_fuse2.benchmarks.potentials import MeasurementError, run_potential
        from aiida_fuse2.benchmarks.results import PotentialRow, ResultsFile

        chosen = choose_compounds(compounds)
        file = ResultsFile(out, PotentialRow)
        failed = []
        if not only_table:
            potentials = _potentials(models, python, assignments)
            file.check_writable()
            for potential in potentials:
                try:
                    for row in run_potential(potential, chosen, file, str(python or sys.executable)):
                        echo(_news(row), err=True)
                except MeasurementError as error:
                    failed.append(potential.name)
                    echo(str(error), err=True)
        if only_table:
            require_rows(file.rows, out)
        _report(report_potentials(file.rows), as_json=as_json)
        if failed:
            raise CommandError(f"{', '.join(failed)} could not be measured; the others are in {printable(out)}")


def _potentials(models: str | None, python: Path | None, assignments: Sequence[str]) -> list[Potential]:
    """Return the potentials that options ask for, each checked.

    Raises:
        InputError: for the first wrong name or setting.
    """
    from aiida_fuse2.benchmarks.potentials import Potential
    from aiida_fuse2.core.errors import InputError
    from aiida_fuse2.core.potentials.installed import installed_version
    from aiida_fuse2.launch.overrides import merge_all, parse_assignment
    from aiida_fuse2.protocols.models import families, find_model

    overrides = merge_all(*(parse_assignment(text) for text in assignments))
    names = split_names(models) if models is not None else []
    if models is None and python is None:
        names = [model.name for model in map(find_model, families()) if installed_version(model.package) is not None]
    if not names:
        raise InputError("--models", models, "must be names of potentials, e.g. chgnet,sevennet-l3i5")
    potentials = [Potential.of(name, overrides) for name in names]
    for potential in potentials:
        potential.settings()
    return potentials


def _news(row: PotentialRow) -> str:
    if not row.compound:
        return f"{row.potential} {row.atoms} atoms: {1000 * row.cpu_seconds:.1f} CPU ms per evaluation"
    energy = "" if row.energy is None else f", {row.energy:.4f} eV/atom"
    return (
        f"{row.potential} {row.compound} {row.structure}: {row.status}{energy}, {row.evaluations} evaluations, "
        f"{row.cpu_seconds:.2f} CPU s"
    )


def _report(report: PotentialReport, *, as_json: bool) -> None:
    """Print the tables of costs and of orders."""
    from aiida_fuse2.cli.views.benchmark_tables import costs_table, orders_table

    if as_json:
        echo_json(dataclasses.asdict(report))
        return
    console = make_console()
    console.print(costs_table(report.costs))
    if report.orders:
        console.print()
        console.print(orders_table(report.orders))
        console.print(
            "\nEnergies are relative to the structure that is stable in experiment. *: another space group after "
            "relaxation. (?): energies at 0 K may have another order than experiments."
        )
