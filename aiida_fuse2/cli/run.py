"""``aiida-fuse2 run``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.core.errors import one_line, printable

from .options import BAD_INPUT, JSON, CommandError, echo_json, hint, with_profile
from .root import cmd_root

if TYPE_CHECKING:
    from aiida import orm

    from aiida_fuse2.launch import Prepared

MAX_SKIPPED_SHOWN = 10
"""Structures that cannot be used which are listed one by one."""

INPUT_OF_OPTION = {
    "generator": ("settings", "generator"),
    "max_atoms": ("settings", "max_atoms"),
    "max_structures": ("settings", "max_structures"),
    "max_cpu_hours": ("settings", "max_cpu_hours"),
    "max_wall_hours": ("settings", "max_wall_hours"),
    "population": ("settings", "population_size"),
    "walkers": ("settings", "walkers"),
    "trials_per_step": ("settings", "trials_per_step"),
    "seed": ("settings", "seed"),
    "jobs": ("settings", "relax_jobs"),
    "pressure": ("relax", "settings", "pressure"),
    "device": ("relax", "settings", "device"),
    "processes": ("relax", "settings", "processes"),
}
"""Input that each option sets."""


@cmd_root.command("run")
@click.argument("composition")
@click.option("--protocol", metavar="NAME", help="fast, balanced (default) or stringent.")
@click.option(
    "--code",
    "code_label",
    default="fuse2-worker",
    show_default=True,
    metavar="LABEL",
    help="The worker; see setup.",
)
@click.option("--generator", metavar="NAME", help="Where starting structures come from: symmetric, fgen or provided.")
@click.option(
    "--structures",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH",
    help="Start from the structures of a CIF, POSCAR or extxyz file, or of a directory of them, best first; can be "
    "repeated. They enter the initial population first and fgen fills it up; with --generator, that generator makes "
    "more when they are used up.",
)
@click.option("--group", metavar="LABEL", help="Start from the structures of this group, as with --structures.")
@click.option("--max-atoms", type=int, metavar="N", help="Most atoms of a structure.")
@click.option("--max-structures", type=int, metavar="N", help="Stop after this many structures.")
@click.option("--max-cpu-hours", type=float, metavar="H", help="Stop after this CPU time of the relaxations.")
@click.option("--max-wall-hours", type=float, metavar="H", help="Stop this long after the submission.")
@click.option("--population", type=int, metavar="N", help="Structures of the initial population.")
@click.option("--walkers", type=int, metavar="N", help="Basin-hopping chains.")
@click.option("--trials-per-step", type=int, metavar="N", help="Structures that a chain tries in a step.")
@click.option("--seed", type=int, metavar="N", help="Seed of every random decision.")
@click.option("--pressure", type=float, metavar="GPa", help="External pressure; enthalpies are then compared.")
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Make N independent runs with the seeds SEED, SEED + 1, ... and compare them; the paper makes 3. At most "
    "1000.",
)
@click.option(
    "--concurrent",
    type=click.IntRange(min=1),
    metavar="N",
    help="Runs at a time; by default as many as the cores and memory of this machine allow, or all of them where jobs "
    "go elsewhere.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where CHGNet is evaluated.")
@click.option("--processes", type=int, metavar="N", help="Structures relaxed side by side in a job.")
@click.option("--jobs", type=int, metavar="N", help="Jobs that relax side by side.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set any input, e.g. settings.acceptance.temperature=0.05 or "
    "relax.metadata.options.queue_name=short; can be repeated, and wins over everything else.",
)
@click.option(
    "--overrides",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="YAML file of inputs that win over the protocol.",
)
@click.option("--wait/--no-wait", default=True, help="Whether to show progress until the search ends.")
@click.option("--dry-run", is_flag=True, help="Print the inputs and submit nothing.")
@JSON
@with_profile
def cmd_run(
    *,
    composition: str,
    protocol: str | None,
    code_label: str,
    paths: tuple[Path, ...],
    group: str | None,
    runs: int | None,
    concurrent: int | None,
    assignments: tuple[str, ...],
    overrides: Path | None,
    wait: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Search for the crystal structure of COMPOSITION (SrTiO3).

    The search runs in AiiDA's daemon. Ctrl-C ends the display and leaves the search running;
    `aiida-fuse2 watch PK` brings it back.
    """
    from aiida_fuse2 import environment, launch

    if concurrent is not None and runs is None:
        raise click.UsageError("--concurrent is about several runs: give --runs, too")
    changes = launch.merge_all(
        {} if overrides is None else launch.read_overrides(overrides),
        changes_of_options(options),
        *(launch.parse_assignment(text) for text in assignments),
    )
    code = environment.load_code(code_label)
    if not dry_run:
        environment.require_daemon()
    prepared = launch.prepare_search(
        composition,
        code=code,
        protocol=protocol,
        overrides=changes,
        paths=paths,
        group=group,
        store=not dry_run,
    )
    check_calculator(code, prepared)
    _report(prepared)
    if runs is not None:
        prepared = launch.prepare_runs(prepared, runs=runs, concurrent=concurrent)
    if dry_run:
        print_inputs(prepared, as_json=as_json)
        return
    submit_prepared(prepared, wait=wait, as_json=as_json)


def changes_of_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the nested inputs that options set."""
    from aiida_fuse2.launch import merge_all

    nested: list[dict[str, Any]] = []
    for name, value in options.items():
        if value is not None:
            inner: Any = value
            for key in reversed(INPUT_OF_OPTION[name]):
                inner = {key: inner}
            nested.append(inner)
    return merge_all(*nested)


def check_calculator(code: orm.AbstractCode, prepared: Prepared) -> None:
    """Refuse a calculator that is not installed where the code is."""
    from aiida_fuse2 import environment

    problem = environment.calculator_problem(code, prepared.builder.relax.settings["calculator"])
    if problem is not None:
        raise CommandError(problem)


def _report(prepared: Prepared) -> None:
    """Say what the user should know before the search begins, on the standard error."""
    for message in prepared.warnings:
        click.echo(f"Warning: {message}", err=True)
    if prepared.kept:
        plural = "" if prepared.kept == 1 else "s"
        click.echo(f"{prepared.kept} starting structure{plural}, {len(prepared.skipped)} skipped", err=True)
    list_skipped(prepared.skipped)


def list_skipped(skipped: Sequence[tuple[str, str]]) -> None:
    """Say which of the user's structures cannot be used, on the standard error."""
    for name, reason in skipped[:MAX_SKIPPED_SHOWN]:
        click.echo(f"  skipped {printable(name)}: {one_line(reason)}", err=True)
    if len(skipped) > MAX_SKIPPED_SHOWN:
        click.echo(f"  and {len(skipped) - MAX_SKIPPED_SHOWN} more", err=True)


def print_inputs(prepared: Prepared, *, as_json: bool) -> None:
    """Print inputs as YAML, or as JSON."""
    from aiida_fuse2.launch import plain_inputs

    inputs = plain_inputs(prepared.builder)
    if as_json:
        echo_json(inputs)
        return
    import yaml

    click.echo(yaml.safe_dump(inputs, sort_keys=False, allow_unicode=True), nl=False)


def submit_prepared(prepared: Prepared, *, wait: bool, as_json: bool) -> None:
    """Submit a search, or several runs of one, and show progress if wanted."""
    from aiida.engine import submit

    from .watch import watch_node

    try:
        node = submit(prepared.builder)
    except (ValueError, TypeError) as error:  # what AiiDA raises for inputs that it refuses
        raise CommandError(" ".join(str(error).split()), BAD_INPUT) from error
    click.echo(f"{_what(prepared)} of {prepared.settings.composition} submitted: PK {node.pk}", err=as_json)
    if wait:
        watch_node(node, as_json=as_json)
    elif as_json:
        echo_json({"pk": node.pk, "uuid": node.uuid})
    else:
        click.echo(f"Watch it with `{hint(f'watch {node.pk}')}`, see results with `{hint(f'show {node.pk}')}`")


def _what(prepared: Prepared) -> str:
    """Return what is submitted, for people."""
    if prepared.runs is None:
        return "Search"
    if prepared.runs == 1:
        return "1 run"
    return f"{prepared.runs} runs, {min(prepared.runs, prepared.builder.concurrent.value)} at a time,"
