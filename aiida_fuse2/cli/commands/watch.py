"""``aiida-fuse2 watch`` and ``aiida-fuse2 stop``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from aiida_fuse2.cli.params.options import (
    FAILED,
    JSON,
    NEWEST_SEARCH,
    SEARCH,
    CommandError,
    echo,
    echo_json,
    hint,
    with_profile,
)
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.views.ranked import FINAL_ROWS, print_ranked, print_targets, status_text, summary_values, ways_on

if TYPE_CHECKING:
    from aiida import orm


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
    from aiida_fuse2.query.refinements import load_refinement

    from .refine import watch_refinement

    refined = None if search is None else load_refinement(search)
    if refined is not None:
        watch_refinement(refined, as_json=as_json)
        return
    watch_node(load_search_or_runs(search), as_json=as_json)


def watch_node(node: orm.WorkChainNode, *, as_json: bool) -> None:
    """Show progress of a search, or of several runs of one, until it ends; exits with 1 where it failed."""
    from aiida_fuse2.query.loading import is_runs

    if is_runs(node):
        watch_runs(node, as_json=as_json)
    else:
        watch_search(node, as_json=as_json)


def watch_search(node: orm.WorkChainNode, *, as_json: bool) -> None:
    """Show progress until a search ends, then what it found; exits with 1 where it failed."""
    from aiida_fuse2 import query
    from aiida_fuse2.cli.views.progress import follow, report_interrupt
    from aiida_fuse2.cli.views.tables import make_console
    from aiida_fuse2.query.targets import marked_rows, search_targets

    settings = query.search_settings(node)
    try:
        reached = follow(node.pk, settings, make_console(stderr=as_json))
    except KeyboardInterrupt:
        report_interrupt(node, f"The search {node.pk} keeps running.", ways_on(node), as_json=as_json)
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


@cmd_root.command("stop")
@SEARCH
@click.option("--now", is_flag=True, help="Kill the jobs of the present generation and leave it out.")
@with_profile
def cmd_stop(*, search: str, now: bool) -> None:
    """Ask the search PK, or all its runs, to end after the present generation.

    It keeps all that it has found, and finishes with exit status 700.
    """
    from aiida_fuse2 import query

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


def watch_runs(node: orm.WorkChainNode, *, as_json: bool) -> None:
    """Show progress until all runs have ended, then what they found; exits with 1 where they failed."""
    from aiida_fuse2 import query
    from aiida_fuse2.cli.views.progress import report_interrupt
    from aiida_fuse2.cli.views.runs import follow_runs, print_runs, runs_values
    from aiida_fuse2.cli.views.tables import make_console

    settings = query.runs_settings(node)
    try:
        reached = follow_runs(node.pk, settings, make_console(stderr=as_json))
    except KeyboardInterrupt:
        report_interrupt(node, f"The runs {node.pk} keep running.", ways_on(node), as_json=as_json)
        return
    rows = query.combined(query.run_searches(node), FINAL_ROWS + 1)
    if as_json:
        echo_json(runs_values(settings, reached, rows[:FINAL_ROWS], uuid=node.uuid))
    else:
        console = make_console()
        console.print(f"runs {node.pk}:", status_text(reached), soft_wrap=True)
        print_runs(console, settings, reached, rows)
        print_ranked(console, rows, FINAL_ROWS, relaxed=query.relaxed_to(node), total_is_known=False)
    if reached.has_failed:
        click.get_current_context().exit(FAILED)


def stop_runs(node: orm.WorkChainNode, *, now: bool) -> None:
    """Ask all runs to end after their present generation, or at once."""
    from aiida_fuse2 import query

    if node.is_terminated:
        _stop_left_over(node, now=now)
        return
    query.ask_to_stop(node, now=now)
    kept = f"keep what they have found, and finish with exit status {query.STOPPED_EXIT}"
    if now:
        echo(f"The runs {node.pk} end ({killed_text(query.kill_jobs(node))}), {kept}.")
        return
    echo(
        f"The runs {node.pk} end when their present generations are relaxed, {kept}; no other run begins.\n"
        f"To end them at once, without these generations: `{hint(f'stop --now {node.pk}')}`"
    )


def _stop_left_over(node: orm.WorkChainNode, *, now: bool) -> None:
    """Ask searches to end that still run although their runs have failed or were killed."""
    from aiida_fuse2 import query

    active = ", ".join(str(search.pk) for search in query.active_searches(node))
    if not active:
        raise CommandError(f"the runs {node.pk} have ended already; see `{hint(f'show {node.pk}')}`")
    query.ask_to_stop(node, now=now)
    when = f"at once ({killed_text(query.kill_jobs(node))})" if now else "after their present generation"
    echo(f"The runs {node.pk} have ended, but searches of them still run; these end {when}: {active}")


def killed_text(killed: int) -> str:
    """Return how many jobs were killed, for people."""
    return f"{killed} running job{'' if killed == 1 else 's'} killed" if killed else "no job was running"
