"""``aiida-fuse2 run``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.cli.params import options as opts
from aiida_fuse2.cli.params.options import CommandError, echo, echo_json, hint, with_profile
from aiida_fuse2.cli.params.tier_options import RANK_BY, tier_options, tiers_of_options
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.utils.libraries import library_of
from aiida_fuse2.cli.utils.submitting import print_inputs, say_composition, submit_inputs
from aiida_fuse2.core.errors import one_line, printable
from aiida_fuse2.core.settings.starts import stored_starts

if TYPE_CHECKING:
    from aiida_fuse2.launch.inputs import Prepared
    from aiida_fuse2.protocols import Experiment

MAX_SKIPPED_SHOWN = 10
"""Largest number of unusable structures that are listed one by one."""

INPUT_OF_OPTION = {
    "starts": ("settings", "starts"),
    "network": ("settings", "gnoa", "network"),
    "optimizer": ("settings", "gnoa", "optimizer"),
    "space_groups": ("settings", "gnoa", "space_groups"),
    "trials_per_z": ("settings", "gnoa", "trials_per_z"),
    "pool_size": ("settings", "pool", "size"),
    "ranking": ("settings", "pool", "ranking"),
    "pool_processes": ("settings", "pool", "processes"),
    "max_atoms": ("settings", "max_atoms"),
    "max_structures": ("settings", "max_structures"),
    "max_cpu_hours": ("settings", "max_cpu_hours"),
    "max_wall_hours": ("settings", "max_wall_hours"),
    "stop_chance": ("settings", "stop_chance"),
    "policy": ("settings", "policy"),
    "population": ("settings", "population_size"),
    "walkers": ("settings", "walkers"),
    "trials_per_step": ("settings", "trials_per_step"),
    "seed": ("settings", "seed"),
    "jobs": ("settings", "relax_jobs"),
    "stop_at_target": ("settings", "target", "stop"),
    "pressure": ("relax", "settings", "pressure"),
    "device": ("relax", "settings", "device"),
    "processes": ("relax", "settings", "processes"),
}
"""Input that each option sets."""


@cmd_root.command("run")
@click.argument("composition")
@opts.PROTOCOL
@opts.CODE
@opts.MODEL
@click.option(
    "--experiment",
    metavar="NAME",
    help="Set up an experiment of the paper with its three runs: fgen, fgen-spp, mlgen, mlgen-spp, fgen-chgnet or "
    "mlgen-chgnet. Other options win; --tiers replaces its tiers, which end with VASP.",
)
@opts.starts_option()
@opts.GENERATOR_OPTIONS
@click.option(
    "--structures",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH",
    help="Start from the structures of a CIF, POSCAR or extxyz file, or of a directory of them, best first; can be "
    "repeated. They enter the initial population first and fgen fills it up; with --starts, its generators make more "
    "when they are used up.",
)
@click.option(
    "--group",
    metavar="LABEL",
    help="Start from the structures of this group, as with --structures; a label comes before PK and UUID.",
)
@click.option("--pool", metavar="PK", help="Start from a pool that `generate` or another search made.")
@opts.PROTOTYPES
@opts.KNOWN
@opts.TARGET
@opts.STOP_AT_TARGET
@opts.MAX_ATOMS
@opts.BUDGET
@click.option("--population", type=int, metavar="N", help="Structures of the initial population.")
@opts.WALKERS
@opts.TRIALS_PER_STEP
@opts.SEED
@opts.POLICY
@opts.POLICY_FROM
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
    help="Runs at a time; by default as many as the cores and memory of this machine allow, or all of them if jobs "
    "run elsewhere.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Device that computes CHGNet.")
@opts.PROCESSES
@opts.JOBS
@opts.set_option("settings.acceptance.temperature=0.05 or relax.metadata.options.queue_name=short")
@opts.OVERRIDES
@tier_options
@RANK_BY
@opts.SECOND
@opts.WAIT
@opts.DRY_RUN
@opts.JSON
@with_profile
def cmd_run(
    *,
    composition: str,
    protocol: str | None,
    code_label: str,
    paths: tuple[Path, ...],
    targets: tuple[Path, ...],
    group: str | None,
    pool: str | None,
    prototypes: str | None,
    policy_from: str | None,
    model: str | None,
    network_model: str | None,
    experiment: str | None,
    runs: int | None,
    concurrent: int | None,
    assignments: tuple[str, ...],
    known: tuple[str, ...],
    overrides: Path | None,
    tiers: str | None,
    tier_codes: tuple[str, ...],
    potential: str | None,
    rank_by: str | None,
    second: str | None,
    wait: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Search for the crystal structure of COMPOSITION (SrTiO3).

    The search runs in AiiDA's daemon. Ctrl-C ends the display and leaves the search running;
    `aiida-fuse2 watch PK` brings it back.
    """
    from aiida_fuse2 import protocols
    from aiida_fuse2.environment.daemon import require_daemon
    from aiida_fuse2.launch.cost import estimate
    from aiida_fuse2.launch.presets import with_model
    from aiida_fuse2.launch.runs import prepare_runs
    from aiida_fuse2.launch.search import prepare_search

    paper = None if experiment is None else protocols.experiment(experiment)
    if paper is not None:
        runs, tiers = runs or paper.runs, tiers or ",".join(paper.tiers)
    if concurrent is not None and runs is None:
        raise click.UsageError("--concurrent is about several runs: give --runs, too")
    changes = _changes({} if paper is None else paper.overrides, overrides, options, known, assignments)
    if paper is not None and rank_by is None and _has_starts_of(paper, changes):
        rank_by = paper.rank_by
    chosen = with_model(
        model,
        changes,
        code_label=opts.named_code(code_label),
        tiers=tiers_of_options(tiers, tier_codes, potential, rank_by),
        elements=composition,
    )
    if not dry_run:
        require_daemon()
    prepared = prepare_search(
        composition,
        code=chosen.code,
        protocol=protocol,
        overrides=chosen.overrides,
        paths=paths,
        group=group,
        pool=pool,
        network_model=network_model,
        store=not dry_run,
        tiers=chosen.tiers,
        targets=targets,
        prototypes=library_of(prototypes, composition, protocol=protocol, overrides=chosen.overrides),
        experiment=experiment,
        policy_from=policy_from,
        second=second or (None if paper is None else "none"),
    )
    check_calculators(prepared)
    _report(prepared)
    if runs is not None:
        prepared = prepare_runs(prepared, runs=runs, concurrent=concurrent)
    print_or_submit(prepared, cost=estimate(prepared).text, dry_run=dry_run, wait=wait, as_json=as_json)


def _changes(
    paper: Mapping[str, Any],
    overrides: Path | None,
    options: dict[str, Any],
    known: Sequence[str],
    assignments: Sequence[str],
) -> dict[str, Any]:
    """Return what the user changes of the protocol; what is named later wins."""
    from aiida_fuse2.launch.overrides import merge_all, parse_assignment, parse_known, read_overrides

    return merge_all(
        paper,
        {} if overrides is None else read_overrides(overrides),
        changes_of_options(options),
        *(parse_known(text) for text in known),
        *(parse_assignment(text) for text in assignments),
    )


def _has_starts_of(paper: Experiment, changes: Mapping[str, Any]) -> bool:
    """Return whether a search ranks its pool as an experiment does: with its generators, if ranking is not off."""
    settings = changes.get("settings")
    if not isinstance(settings, Mapping):
        return False  # reported later
    pool = settings.get("pool")
    is_ranked = isinstance(pool, Mapping) and pool.get("ranking") != "none"
    return is_ranked and stored_starts(settings) == stored_starts(paper.overrides["settings"])


def changes_of_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the nested inputs that options set."""
    from aiida_fuse2.launch.overrides import merge_all

    nested: list[dict[str, Any]] = []
    for name, value in options.items():
        if value is not None:
            inner: Any = value
            for key in reversed(INPUT_OF_OPTION[name]):
                inner = {key: inner}
            nested.append(inner)
    return merge_all(*nested)


def check_calculators(prepared: Prepared) -> None:
    """Refuse a calculator that is not installed on the computer of the code."""
    from aiida_fuse2.environment.codes import calculator_problem
    from aiida_fuse2.launch.jobs import worker_jobs

    for code, calculator in worker_jobs(prepared.builder):
        problem = calculator_problem(code, calculator)
        if problem is not None:
            raise CommandError(problem)


def _report(prepared: Prepared) -> None:
    """Print warnings about the search on the standard error before it begins."""
    for message in prepared.warnings:
        echo(f"Warning: {message}", err=True)
    if prepared.kept:
        plural = "" if prepared.kept == 1 else "s"
        echo(f"{prepared.kept} starting structure{plural}, {len(prepared.skipped)} skipped", err=True)
    list_skipped(prepared.skipped)


def list_skipped(skipped: Sequence[tuple[str, str]]) -> None:
    """Print on the standard error which of the user's structures cannot be used."""
    for name, reason in skipped[:MAX_SKIPPED_SHOWN]:
        echo(f"  skipped {printable(name)}: {one_line(reason)}", err=True)
    if len(skipped) > MAX_SKIPPED_SHOWN:
        echo(f"  and {len(skipped) - MAX_SKIPPED_SHOWN} more", err=True)


def print_or_submit(prepared: Prepared, *, cost: str | None = None, dry_run: bool, wait: bool, as_json: bool) -> None:
    """Submit a search, or several runs of one, and show progress if wanted; in a dry run only print the inputs.

    Args:
        prepared: search, ready to be submitted.
        cost: what it is likely to cost, as text.
        dry_run: whether nothing is submitted.
        wait: whether to show progress.
        as_json: whether to print JSON.
    """
    from aiida_fuse2.core.search.watching import stop_text

    from .watch import watch_node

    say_composition(prepared.settings.unit, to_stderr=dry_run or as_json)
    if cost is not None:
        echo(cost, err=dry_run or as_json)
    if prepared.second:
        echo(prepared.second, err=dry_run or as_json)
    if prepared.settings.stop_chance is not None:
        echo(stop_text(prepared.settings), err=dry_run or as_json)
    if dry_run:
        print_inputs(prepared.builder, as_json=as_json)
        return
    node = submit_inputs(prepared.builder)
    echo(f"{_what(prepared)} of {prepared.settings.composition} submitted: PK {node.pk}", err=as_json)
    if wait:
        watch_node(node, as_json=as_json)
    elif as_json:
        echo_json({"pk": node.pk, "uuid": node.uuid})
    else:
        echo(f"Watch it with `{hint(f'watch {node.pk}')}`, see results with `{hint(f'show {node.pk}')}`")


def _what(prepared: Prepared) -> str:
    """Return a name for what is submitted."""
    if prepared.runs is None:
        return "Search"
    if prepared.runs == 1:
        return "1 run"
    return f"{prepared.runs} runs, {min(prepared.runs, prepared.builder.concurrent.value)} at a time,"
