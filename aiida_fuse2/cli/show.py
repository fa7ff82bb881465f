"""``aiida-fuse2 show``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import JSON, NEWEST_SEARCH, echo_json, with_profile
from .root import cmd_root

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from aiida_fuse2.core.settings import SearchSettings
    from aiida_fuse2.query.status import Progress, RunsProgress
    from aiida_fuse2.targets import Target

DEFAULT_ROWS = 20
"""Structures in the table."""


@cmd_root.command("show")
@NEWEST_SEARCH
@click.option("-n", "--number", type=click.IntRange(min=1), metavar="N", help="Structures; 20, or all with --json.")
@click.option(
    "--target",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Known structure (CIF, POSCAR or extxyz) to look for among those found, beside the targets of the search. "
    "Can be repeated.",
)
@JSON
@with_profile
def cmd_show(*, search: str | None, number: int | None, paths: tuple[Path, ...], as_json: bool) -> None:
    """Show what the search PK (the newest one if left out) has found, lowest energy first.

    Of several runs of a search (`run --runs`), PK shows each run, how far their lowest energies lie apart, and
    what they have found together. Of a refinement, each structure before and after.

    Targets (`run --target`, or those named here) are marked with their names, and told when they were found; of
    runs, in how many of them.

    Structures that are equal count once; "found" says how often. "space group" is the one at the loose
    tolerance (0.1 Å unless set), "tight" that at the tight one (0.01 Å). Works while the search runs.
    """
    from aiida_fuse2 import query, refinement, targets

    from .refine import show_refinement
    from .runs import show_runs
    from .tables import make_console

    refined = None if search is None else refinement.load_refinement(search)
    if refined is not None:
        _refuse_targets(paths, "a refinement")
        show_refinement(refined, number, as_json=as_json)
        return
    node = query.load_search_or_runs(search)
    if query.is_runs(node):
        _refuse_targets(paths, "runs; name one of the searches")
        show_runs(node, number, as_json=as_json)
        return
    settings, reached = query.search_settings(node), query.progress(node.pk)
    looked_for = targets.search_targets(node) + [
        targets.find_in_search(node, targets.name_of(path), targets.read_target(path, settings)) for path in paths
    ]
    rows = targets.marked_rows(query.ranked(node), looked_for, node.pk)
    if as_json:
        values = {"targets": [asdict(target) for target in looked_for], "structures": rows[:number]}
        echo_json(summary_values(settings, reached, uuid=node.uuid) | values)
        return
    console = make_console()
    print_header(console, settings, reached)
    print_targets(console, looked_for)
    print_ranked(console, rows, number or DEFAULT_ROWS, relaxed=query.relaxed_to(node))


def _refuse_targets(paths: tuple[Path, ...], what: str) -> None:
    if paths:
        raise click.UsageError(f"--target is about one search, not {what}")


def print_targets(console: Console, targets: Sequence[Target]) -> None:
    """Print what became of targets, a line for each."""
    for target in targets:
        console.print(target_line(target), soft_wrap=True)


def target_line(target: Target) -> str:
    """Return what is known of a target and of the structure that equals it."""
    from .tables import spacegroup_text

    group = spacegroup_text(target.spacegroup_symbol, target.spacegroup)
    own = group if target.energy is None else f"{group}, {target.energy:.4f} eV/atom"
    if target.found is None or target.rms is None or target.found_energy is None:
        return f"target {target.name} ({own}): not found"
    differences = [
        f"{1000 * delta:+.1f} meV/atom from {what}"
        for delta, what in ((target.delta_target, "its own"), (target.delta_best, "the lowest"))
        if delta is not None
    ]
    return (
        f"target {target.name} ({own}): found after {target.structure_number} structures, in generation "
        f"{target.generation}; rms {target.rms:.3f} Å; {target.found_energy:.4f} eV/atom, {', '.join(differences)}; "
        f"{spacegroup_text(target.found_spacegroup_symbol, target.found_spacegroup)}"
    )


def summary_values(settings: SearchSettings, reached: Progress, *, uuid: str) -> dict[str, Any]:
    """Return a search in plain values."""
    return {
        **common_values(settings, reached, uuid=uuid),
        **structure_counts(reached),
        "max_structures": settings.max_structures,
        "failures": reached.state.failures if reached.state else {},
    }


def common_values(settings: SearchSettings, reached: Progress | RunsProgress, *, uuid: str) -> dict[str, Any]:
    """Return what a search, and several runs of one, have in common in plain values."""
    from aiida_fuse2 import query

    return {
        "pk": reached.pk,
        "uuid": uuid,
        "composition": settings.composition,
        "generator": settings.generator,
        "seed": settings.seed,
        "process_state": reached.process_state,
        "exit_status": reached.exit_status,
        "exit_message": reached.exit_message,
        "relaxed_to": query.relaxed_to(reached.pk),
    }


def structure_counts(reached: Progress) -> dict[str, int]:
    """Return how many structures a search has tried, explored and told apart."""
    state = reached.state
    return {
        "structures_tried": state.tried if state else 0,
        "structures_explored": state.explored if state else 0,
        "structures_unique": state.unique if state else 0,
    }


def print_header(console: Console, settings: SearchSettings, reached: Progress) -> None:
    """Print what was searched and how far the search is."""
    from .tables import coloured, counts_text

    console.print(
        coloured((settings.composition, "bold")),
        f" search {reached.pk}, {settings.generator} starts, seed {settings.seed}, at most {settings.max_atoms} atoms",
    )
    console.print(status_text(reached), soft_wrap=True)
    state = reached.state
    if state is not None:
        console.print(
            f"{state.tried} of {settings.max_structures} structures tried, {state.explored} explored, "
            f"{state.unique} unique; failures: {counts_text(state.failures)}"
        )


def status_text(reached: Progress | RunsProgress) -> Text:
    """Return how a search, or several runs of one, stand; with the exit message where it has ended."""
    from .tables import coloured

    if not reached.is_terminated:
        return coloured("stopping after this generation" if reached.is_stopping else f"running: {reached.phase}")
    if reached.exit_status == 0:
        return coloured(("finished", "green"))
    colour = "red" if reached.has_failed else "yellow"
    status = "" if reached.exit_status is None else f" with exit status {reached.exit_status}"
    message = "" if not reached.exit_message else f": {_last_line(reached.exit_message)}"
    return coloured((f"{reached.process_state}{status}", colour), message)


def _last_line(text: str) -> str:
    """Return the last line of a message; that of a traceback says what happened."""
    return text.strip().splitlines()[-1]


def print_ranked(
    console: Console, rows: list[dict[str, Any]], limit: int, *, relaxed: str, total_is_known: bool = True
) -> None:
    """Print the ranked table and say what was left out.

    Args:
        console: to print to.
        rows: lowest energy first.
        limit: how many to print.
        relaxed: to what the structures were relaxed.
        total_is_known: whether these are all rows; otherwise one beyond the limit tells that there are more.
    """
    from .tables import ranked_table

    if not rows:
        console.print("no structure explored yet")
        return
    console.print()
    console.print(relaxed, soft_wrap=True)
    console.print(ranked_table(rows, limit, width=console.width))
    if len(rows) > limit:
        more = f"and {len(rows) - limit} more (-n {len(rows)})" if total_is_known else f"and more (-n {2 * limit})"
        console.print(more)
