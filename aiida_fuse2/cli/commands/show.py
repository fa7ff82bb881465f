"""``aiida-fuse2 show``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_fuse2.cli.params.options import JSON, NEWEST_SEARCH, PATTERN, echo_json, with_profile
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.utils.patterns import pattern_order
from aiida_fuse2.cli.views.answers import (
    answer_values,
    conclusion_values,
    print_conclusion,
    print_newest_answer,
)
from aiida_fuse2.cli.views.ranked import (
    DEFAULT_ROWS,
    print_evidence,
    print_ranked,
    print_targets,
    status_text,
    summary_values,
)

if TYPE_CHECKING:
    from aiida import orm
    from rich.console import Console

    from aiida_fuse2.core.settings import SearchSettings
    from aiida_fuse2.query.status import Progress
    from aiida_fuse2.report.matches import PatternOrder


@cmd_root.command("show")
@NEWEST_SEARCH
@click.option(
    "-n", "--number", type=click.IntRange(min=1), metavar="N", help="Number of structures; 20, or all with --json."
)
@click.option(
    "--target",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Known structure (CIF, POSCAR or extxyz) to look for, in addition to the targets of the search. "
    "Can be repeated.",
)
@click.option(
    "--structure",
    "phase",
    type=click.IntRange(min=1),
    metavar="N",
    help="Phase N of the answer in detail: cell, Wyckoff positions, magnetic moments, structures and rungs.",
)
@PATTERN
@JSON
@with_profile
def cmd_show(
    *,
    search: str | None,
    number: int | None,
    paths: tuple[Path, ...],
    phase: int | None,
    pattern: Path | None,
    wavelength: str,
    rank_by: str,
    as_json: bool,
) -> None:
    """Show what the search PK (the newest one if omitted) has found, lowest energy first.

    For several runs of a search (`run --runs`), PK shows each run, how far their lowest energies lie apart, and
    what they have found together. For a refinement, PK shows each structure before and after it; for a finish, its
    answer.

    Targets (`run --target`, or those named here) are marked with their names, with the time when they were found; for
    runs, with the number of runs that found them.

    Once the search is finished (`aiida-fuse2 finish`), its answer comes first: one row for each phase. At the end, an
    ended search says what was found, how sure that is, and what to do next.

    With a measured powder pattern, "pattern" is how similar the simulated profile is (0 to 1), and "peaks" how many of
    the measured ones have a line, once the lattice is scaled by up to 3 %.

    Equal structures count once; "found" says how often they were found. "space group" is the one at the loose
    tolerance (0.1 Å unless set), "tight" that at the tight one (0.01 Å). Works while the search runs.
    """
    from aiida_fuse2 import query
    from aiida_fuse2.cli.views.tables import make_console
    from aiida_fuse2.launch.targets import name_of, read_target
    from aiida_fuse2.query import refinements, targets
    from aiida_fuse2.query.finishes import newest_finish, with_phases

    from .refine import show_refinement

    if phase is not None:
        _show_phase(search, phase, as_json=as_json)
        return
    order = pattern_order(pattern, wavelength, rank_by)
    refined = None if search is None else refinements.load_refinement(search, or_finish=True)
    if refined is not None:
        _refuse_targets(paths, "a refinement")
        show_refinement(refined, number, as_json=as_json, order=order)
        return
    node = query.load_search_or_runs(search)
    if query.is_runs(node):
        _refuse_targets(paths, "runs; name one of the searches")
        show_runs(node, number, as_json=as_json, order=order)
        return
    settings, reached = query.search_settings(node), query.progress(node.pk)
    looked_for = targets.search_targets(node) + [
        targets.find_in_search(node, name_of(path), read_target(path, settings)) for path in paths
    ]
    rows = targets.marked_rows(with_phases(query.ranked(node), newest_finish(node)), looked_for, node.pk)
    ranked = rows
    if order is not None:
        rows = order.applied(rows, number if as_json else number or DEFAULT_ROWS)
    if as_json:
        values = {"targets": [asdict(target) for target in looked_for], "structures": rows[:number]}
        values |= answer_values(node, order) | conclusion_values(node, ranked)
        echo_json(summary_values(settings, reached, uuid=node.uuid) | values)
        return
    console = make_console()
    print_header(console, settings, reached)
    if not node.is_terminated:
        print_evidence(console, node.pk)
    print_targets(console, looked_for)
    print_newest_answer(console, node, order)
    print_ranked(console, rows, number or DEFAULT_ROWS, relaxed=query.relaxed_to(node))
    if order is not None:
        console.print(order.text(rows), soft_wrap=True)
    if node.is_terminated:
        print_conclusion(console, node, ranked)


def _show_phase(identifier: str | None, phase: int, *, as_json: bool) -> None:
    from aiida_fuse2 import query
    from aiida_fuse2.cli.views.phase import show_phase
    from aiida_fuse2.query import refinements

    refined = None if identifier is None else refinements.load_refinement(identifier, or_finish=True)
    show_phase(query.load_search_or_runs(identifier) if refined is None else refined, phase, as_json=as_json)


def _refuse_targets(paths: tuple[Path, ...], what: str) -> None:
    if paths:
        raise click.UsageError(f"--target is about one search, not {what}")


def print_header(console: Console, settings: SearchSettings, reached: Progress) -> None:
    """Print the composition and the progress of the search."""
    from aiida_fuse2.cli.views.tables import coloured, counts_text

    console.print(
        coloured((settings.composition, "bold")),
        f" search {reached.pk}, {settings.starts_text} starts, seed {settings.seed}, "
        f"at most {settings.max_atoms} atoms",
    )
    console.print(status_text(reached), soft_wrap=True)
    state = reached.state
    if state is not None:
        console.print(
            f"{state.tried} of {settings.max_structures} structures tried, {state.explored} explored, "
            f"{state.unique} unique; failures: {counts_text(state.failures)}"
        )


def show_runs(node: orm.WorkChainNode, number: int | None, *, as_json: bool, order: PatternOrder | None = None) -> None:
    """Show each run, how far the runs lie apart, and what they have found together.

    Args:
        node: node of the runs.
        number: structures in the table.
        as_json: whether to print JSON.
        order: measured pattern that they are compared with.
    """
    from aiida_fuse2 import query
    from aiida_fuse2.cli.views.runs import print_runs, runs_values, target_lines
    from aiida_fuse2.cli.views.tables import coloured, make_console
    from aiida_fuse2.query import targets
    from aiida_fuse2.query.finishes import newest_finish, with_phases

    settings, reached = query.runs_settings(node), query.runs_progress(node.pk)
    looked_for = [targets.search_targets(search) for search in query.run_searches(node)]
    if as_json:
        wanted = number and max(number, 0 if order is None else order.ranked)
        ranked = rows = with_phases(query.combined(query.run_searches(node), wanted), newest_finish(node))
        rows = (rows if order is None else order.applied(rows, number))[:number]
        found = [{"run": run, **asdict(target)} for run, known in enumerate(looked_for) for target in known]
        values = runs_values(settings, reached, rows, uuid=node.uuid)
        echo_json({**values, "targets": found, **answer_values(node, order), **conclusion_values(node, ranked)})
        return
    limit = number or DEFAULT_ROWS
    wanted = max(limit, 0 if order is None else order.ranked) + 1  # one more shows that there are more
    ranked = rows = query.combined(query.run_searches(node), wanted)
    if order is not None:
        rows = order.applied(rows, limit)
    console = make_console()
    last_seed = settings.seed + reached.n_runs - 1
    seeds = f"seed {settings.seed}" if reached.n_runs == 1 else f"seeds {settings.seed} to {last_seed}"
    console.print(
        coloured((settings.composition, "bold")),
        f" runs {reached.pk}, {settings.starts_text} starts, {seeds}, at most {settings.max_atoms} atoms",
        soft_wrap=True,
    )
    console.print(status_text(reached), soft_wrap=True)
    print_runs(console, settings, reached, rows)
    for line in target_lines(looked_for):
        console.print(line, soft_wrap=True)
    print_newest_answer(console, node, order)
    print_ranked(console, rows, limit, relaxed=query.relaxed_to(node), total_is_known=False)
    if order is not None:
        console.print(order.text(rows), soft_wrap=True)
    if node.is_terminated:
        print_conclusion(console, node, ranked)
