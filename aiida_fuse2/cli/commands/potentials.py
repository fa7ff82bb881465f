"""``aiida-fuse2 potential``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_fuse2.cli.params import options as opts
from aiida_fuse2.cli.params.options import CommandError, echo, echo_content, echo_json, hint, with_profile
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.utils.submitting import say_composition, submit_inputs, wait_for

if TYPE_CHECKING:
    from aiida_fuse2.core.potentials.pair import PairLibrary


@cmd_root.group("potential")
def cmd_potential() -> None:
    """Pair potentials: learn them, store your own, show them."""


@cmd_potential.command("learn")
@click.argument("composition")
@click.option("--protocol", metavar="NAME", help="balanced (default) or fast.")
@opts.CODE
@opts.MAX_ATOMS
@opts.SEED
@opts.set_option("settings.cutoff=7.2 or relax.model=0.2.0")
@click.option("--wait/--no-wait", default=True, help="Whether to wait for the job and show the result.")
@opts.JSON
@with_profile
def cmd_learn(
    *,
    composition: str,
    protocol: str | None,
    code_label: str,
    max_atoms: int | None,
    seed: int | None,
    assignments: tuple[str, ...],
    wait: bool,
    as_json: bool,
) -> None:
    """Learn pair potentials of COMPOSITION from CHGNet.

    One job relaxes some random structures with CHGNet and fits splines to them. The potentials are for this
    composition only: they rank and relax random structures before CHGNet does.
    """
    from aiida_fuse2.core.chemistry.composition import parse_composition
    from aiida_fuse2.environment.codes import calculator_problem, load_code
    from aiida_fuse2.environment.daemon import require_daemon
    from aiida_fuse2.launch import potentials
    from aiida_fuse2.launch.jobs import check_devices
    from aiida_fuse2.launch.overrides import merge_all, parse_assignment

    options = {"max_atoms": max_atoms, "seed": seed}
    changes = merge_all(
        {"settings": {key: value for key, value in options.items() if value is not None}},
        *(parse_assignment(text) for text in assignments),
    )
    code = load_code(code_label)
    require_daemon()
    builder = potentials.learning_builder(composition, code, protocol, changes)
    problem = calculator_problem(code, builder.relax["calculator"])
    if problem is not None:
        raise CommandError(problem)
    check_devices(builder)
    say_composition(parse_composition(builder.settings["composition"]), to_stderr=as_json)
    node = submit_inputs(builder)
    echo(f"Potentials of {composition} are being learned: PK {node.pk}", err=as_json)
    if wait:
        wait_for(node)
        _show(str(node.pk), as_json=as_json)
    elif as_json:
        echo_json({"pk": node.pk, "uuid": node.uuid})
    else:
        echo(f"See them with `{hint(f'potential show {node.pk}')}`")


@cmd_potential.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--for", "composition", metavar="COMPOSITION", help="Keep only the pairs of this composition; all must exist."
)
@opts.JSON
@with_profile
def cmd_import(*, path: Path, composition: str | None, as_json: bool) -> None:
    """Store a library of GULP from PATH: a file, a folder or a zip.

    In a folder or zip each pair of elements has a folder with a .POT file. The result is one node, to be used as
    the input `potential` of jobs.
    """
    from aiida_fuse2.launch import potentials

    node, library = potentials.import_potentials(path, composition)
    missing = library.missing(library.elements)
    if as_json:
        echo_json({"pk": node.pk, "uuid": node.uuid, "pairs": len(library.pairs), "missing": missing})
        return
    echo(f"Stored {len(library.pairs)} pairs of {len(library.elements)} elements: PK {node.pk}")
    _warn(library, missing)


def _warn(library: PairLibrary, missing: list[str]) -> None:
    """Print warnings about a library on the standard error."""
    if missing:
        shown = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        echo(f"Warning: no potential for {shown}", err=True)
    if library.has_rational_splines:
        text = "tables for GULP's rational functions; the embedded engine interpolates them by cubic splines"
        echo(f"Warning: {text}", err=True)
    if library.has_charges:
        echo("Warning: elements have charges; the embedded engine has no electrostatics, GULP has", err=True)


@cmd_potential.command("show")
@click.argument("identifier", metavar="PK")
@click.option("--text", "as_text", is_flag=True, help="Print the library itself, as GULP reads it.")
@opts.JSON
@with_profile
def cmd_show_potential(*, identifier: str, as_text: bool, as_json: bool) -> None:
    """Show the library PK: its pairs and, if it was learned, the report. PK may be the job that learned it."""
    if as_text:
        from aiida_fuse2.launch import potentials

        echo_content(potentials.load_potential(identifier).get_content())
        return
    _show(identifier, as_json=as_json)


def _show(identifier: str, *, as_json: bool) -> None:
    """Show a library."""
    from aiida_fuse2.launch import potentials

    node = potentials.load_potential(identifier)
    library = potentials.library_of(node)
    report = potentials.report_of(node)
    rows = [
        {"pair": "-".join(term.pair), "form": term.form.name, "rmin": term.rmin, "rmax": term.rmax}
        for term in library.terms
    ]
    if as_json:
        echo_json({"pk": node.pk, "terms": rows, "charges": dict(library.charges), "report": report})
        return
    echo(f"Library {node.pk} ({node.filename}): {len(library.pairs)} pairs of {', '.join(library.elements)}")
    for row in rows:
        echo(f"  {row['pair']:<6} {row['form']:<11} {row['rmin']:g} to {row['rmax']:g} Å")
    _warn(library, library.missing(library.elements))
    if report is not None:
        held_out = report["held_out"]
        echo(
            f"Learned from {report['teacher']} with {report['frames']} frames in {report['cpu_seconds']:.0f} CPU s\n"
            f"On {held_out['structures']} random structures that it has not seen: rank correlation "
            f"{held_out['spearman']:.2f}, error {held_out['energy_rmse']:.2f} eV/atom where energies deviate by "
            f"{held_out['energy_deviation']:.2f}"
        )
