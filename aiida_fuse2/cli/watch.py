"""``aiida-fuse2 watch`` and ``aiida-fuse2 stop``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from .options import FAILED, JSON, NEWEST_SEARCH, SEARCH, CommandError, echo, echo_json, hint, with_profile
from .root import cmd_root

if TYPE_CHECKING:
    from aiida import orm

FINAL_ROWS = 10
"""Structures in the table that is printed at the end."""


@cmd_root.command("watch")
@NEWEST_SEARCH
@JSON
@with_profile
def cmd_watch(*, search: str | None, as_json: bool) -> None:
    """Show the progress of the search PK (the newest one if left out), of its runs, or of a refinement, until it ends.

    Ctrl-C ends the display and leaves the search running. The exit code is 0 where the search
    finished or was stopped, and 1 where it failed.
    """
    from aiida_fuse2.query.loading import load_search_or_runs
    from aiida_fuse2.refinement import load_refinement

    from .refine import watch_refinement

    refined = None if search is None else load_refinement(search)
    if refined is not None:
        watch_refinement(refined, as_json=as_json)
        return
    watch_node(load_search_or_runs(search), as_json=as_json)


def watch_node(node: orm.WorkChainNode, *, as_json: bool) -> None:
    """Show progress of a search, or of several runs of one, until it ends; exits with 1 where it failed."""
    from aiida_fuse2.query.loading import is_runs

    from .runs import watch_runs

    if is_runs(node):
        watch_runs(node, as_json=as_json)
    else:
        watch_search(node, as_json=as_json)


def watch_search(node: orm.WorkChainNode, *, as_json: bool) -> None:
    """Show progress until a search ends, then what it found; exits with 1 where it failed."""
    from aiida_fuse2 import query
    from aiida_fuse2.targets import marked_rows, search_targets

    from .progress import follow, report_interrupt
    from .show import print_ranked, print_targets, status_text, summary_values
    from .tables import make_console

    settings = query.search_settings(node)
    try:
        reached = follow(node.pk, settings, make_console(stderr=as_json))
    except KeyboardInterrupt:
        report_interrupt(node, f"The search {node.pk} goes on.", ways_on(node), as_json=as_json)
        return
    targets = search_targets(node)
    rows = marked_rows(query.ranked(node), targets, node.pk)
    if as_json:
        values = {"targets": [asdict(target) for target in targets], "structures": rows[:FINAL_ROWS]}
        echo_json(summary_values(settings, reached, uuid=node.uuid) | values)
    else:
        console = make_console()
        console.print(f"search {node.pk}:", status_text(reached), soft_wrap=True)
        print_targets(console, targets)
        print_ranked(console, rows, FINAL_ROWS, relaxed=query.relaxed_to(node))
    if reached.has_failed:
        click.get_current_context().exit(FAILED)


def ways_on(node: orm.WorkChainNode) -> dict[str, str]:
    """Return the commands for a search, or several runs of one, that goes on, and what they do."""
    return {
        hint(f"watch {node.pk}"): "come back",
        hint(f"show {node.pk}"): "see what was found",
        hint(f"stop {node.pk}"): "end it after the present generation",
        hint(f"process status {node.pk}", "verdi"): "see its processes",
    }


@cmd_root.command("stop")
@SEARCH
@click.option("--now", is_flag=True, help="Kill the jobs of the present generation and leave it out.")
@with_profile
def cmd_stop(*, search: str, now: bool) -> None:
    """Ask the search PK, or all its runs, to end after the present generation.

    It keeps all that it has found, and finishes with exit status 700.
    """
    from aiida_fuse2 import query

    from .runs import killed_text, stop_runs

    node = query.load_search_or_runs(search)
    if query.is_runs(node):
        stop_runs(node, now=now)
        return
    if node.is_terminated:
        raise CommandError(f"the search {search} has ended already; see `{hint(f'show {search}')}`")
    query.ask_to_stop(node, now=now)
    if now:
        jobs = killed_text(query.kill_jobs(node))
        echo(f"The search {search} ends ({jobs}), keeps what it has found, and finishes with exit status 700.")
        return
    state = query.progress(node.pk).state
    generation = 0 if state is None else state.generation
    echo(
        f"The search {search} ends when generation {generation} is relaxed, keeps what it has found, "
        f"and finishes with exit status {query.STOPPED_EXIT}.\n"
        f"To end it at once, without this generation: `{hint(f'stop --now {search}')}`"
    )
