"""``aiida-fuse2 continue`` and ``aiida-fuse2 add``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.cli.params import options as opts
from aiida_fuse2.cli.params.options import CommandError, echo, echo_json, hint, with_profile
from aiida_fuse2.cli.params.tier_options import tier_options, tiers_of_options
from aiida_fuse2.cli.root import cmd_root

from .run import changes_of_options, check_calculators, list_skipped, print_or_submit

if TYPE_CHECKING:
    from aiida import orm


@cmd_root.command("continue")
@opts.SEARCH
@click.option(
    "--generation",
    type=click.IntRange(min=0),
    metavar="N",
    help="Make generation N and all later ones again; by default the search continues after its last generation.",
)
@click.option("--more", type=click.IntRange(min=1), metavar="N", help="Try N more structures.")
@opts.BUDGET
@opts.WALKERS
@opts.TRIALS_PER_STEP
@click.option("--seed", type=int, metavar="N", help="Another seed, to branch off.")
@opts.PROCESSES
@opts.JOBS
@opts.TARGET
@click.option(
    "--drop-target", "dropped", multiple=True, metavar="NAME", help="Stop looking for a target. Can be repeated."
)
@opts.STOP_AT_TARGET
@opts.set_option("settings.acceptance.temperature=0.05")
@click.option("--code", "code_label", metavar="LABEL", help="Another worker.")
@tier_options
@click.option(
    "--trust",
    is_flag=True,
    help="Run what the search names and has never run in this profile: a calculator, a model, ... Without, it is "
    "shown and you are asked.",
)
@opts.WAIT
@opts.DRY_RUN
@opts.JSON
@with_profile
def cmd_continue(
    *,
    search: str,
    generation: int | None,
    more: int | None,
    assignments: tuple[str, ...],
    code_label: str | None,
    targets: tuple[Path, ...],
    dropped: tuple[str, ...],
    tiers: str | None,
    tier_codes: tuple[str, ...],
    potential: str | None,
    trust: bool,
    wait: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Continue the search PK, after a crash, a stop or its end.

    A new search begins at the point that the earlier one reached. With the same settings it finds what that one would
    have found; `show` counts the structures of both. Budgets, except that of wall time, count from the
    beginning of the first search. Structures that were added to the ended search enter the pool.
    Targets are kept; new targets are compared with the structures found so far, too.
    With --tiers, trials go through other tiers from now on; the last tier must stay the same, since it gives the
    energies. Codes and options of jobs are not taken from a search that came with an archive.
    """
    from aiida_fuse2 import query
    from aiida_fuse2.environment.codes import code_problem, load_code
    from aiida_fuse2.environment.daemon import require_daemon
    from aiida_fuse2.launch import continuation
    from aiida_fuse2.launch.overrides import merge_all, parse_assignment

    if more is not None and options["max_structures"] is not None:
        raise click.UsageError("--more and --max-structures both set the budget: give one of them")
    node = query.load_search(search)
    changes = merge_all(changes_of_options(options), *(parse_assignment(text) for text in assignments))
    code = None if code_label is None else load_code(code_label)
    choice = tiers_of_options(tiers, tier_codes, potential)
    prepared = continuation.prepare_continuation(
        node,
        trust=trust or _ask_for_trust(node),
        overrides=changes,
        generation=generation,
        more=more,
        code=code,
        tiers=choice,
        targets=targets,
        dropped=dropped,
    )
    worker = continuation.worker_of(prepared.builder)
    problem = None if worker is None else code_problem(worker)
    if problem is not None:
        raise CommandError(f"{problem}; name another one with --code")
    check_calculators(prepared)
    for message in prepared.warnings:
        echo(f"Warning: {message}", err=True)
    if not dry_run:
        require_daemon()
    print_or_submit(prepared, dry_run=dry_run, wait=wait, as_json=as_json)


def _ask_for_trust(search: orm.WorkChainNode) -> bool:
    """Show what a search would run that has never run in this profile, and ask if the terminal is interactive."""
    from aiida_fuse2.environment.trust import foreign_parts

    parts = foreign_parts(search)
    if parts:
        echo(f"Search {search.pk} would run what has never run in this profile:", err=True)
    for part in parts:
        echo(f"  {part}", err=True)
    return bool(parts) and sys.stdin.isatty() and click.confirm("Do you trust it?", err=True)


@cmd_root.command("add")
@opts.SEARCH
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@opts.JSON
@with_profile
def cmd_add(*, search: str, paths: tuple[Path, ...], as_json: bool) -> None:
    """Add the structures of CIF, POSCAR or extxyz files, or of directories of them, to the search PK.

    They enter its pool, best first and before those already there: the initial population and
    moves that make new structures draw from it. In a search that has ended they enter the pool when it is continued.
    """
    from aiida_fuse2 import query
    from aiida_fuse2.launch.adding import add_structures

    node = query.load_search(search)
    added = add_structures(node, paths)
    list_skipped(added.skipped)
    if as_json:
        echo_json({"pk": node.pk, "added": added.kept, "skipped": [list(item) for item in added.skipped]})
        return
    plural = "" if added.kept == 1 else "s"
    if node.is_terminated:
        then = f"the search has ended and takes them with `{hint(f'continue {node.pk} --more N')}`"
    else:
        then = "they enter the pool when the current generation is finished"
    echo(f"{added.kept} structure{plural} added to search {node.pk}; {then}")
    if not added.is_drawn:
        echo("Warning: no move that draws from the pool has a weight in this search", err=True)
