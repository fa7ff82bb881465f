"""``aiida-fuse2 watch`` and ``aiida-fuse2 stop``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from aiida_fuse2.cli.params import options as opts
from aiida_fuse2.cli.params.options import CommandError, echo, echo_json, hint, with_profile
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.views.ranked import (
    FINAL_ROWS,
    print_ranked,
    print_targets,
    status_text,
    summary_values,
    ways_on,
)

if TYPE_CHECKING:
    from aiida import orm

    from aiida_fuse2.core.settings import SearchSettings
    from aiida_fuse2.query.status import Progress, RunsProgress


@cmd_root.command("watch")
@opts.NEWEST_SEARCH
@opts.JSON
@with_profile
def cmd_watch(*, search: str | None, as_json: bool) -> None:
    """Show the progress of the search PK (the newest one if omitted), of its runs, or of a refinement, until it ends.

    Ctrl-C ends the display and leaves the search running. The exit code is 0 if the search
    finished or was stopped, and 1 if it failed.
    """
    from aiida_fuse2.query.loading import load_search_or_runs
    from aiida_fuse2.query.refinements import load_refinement

    from .refine import watch_refinement

    refined = None if search is None else load_refinement(search, or_finish=True)
    if refined is not None:
        watch_refinement(refined, as_json=as_json)
        return
    watch_node(load_search_or_runs(search), as_json=as_json)


def watch_node(node: orm.WorkChainNode, *, as_json: bool) -> None:
    """Show progress of a search, or of several runs of one, until it ends; exits with 1 if it failed."""
    from aiida_fuse2 import query
    from aiida_fuse2.cli.views.progress import follow, report_interrupt
    from aiida_fuse2.cli.views.runs import follow_runs
    from aiida_fuse2.cli.views.tables import make_console

    is_runs = query.is_runs(node)
    settings = query.runs_settings(node) if is_runs else query.search_settings(node)
    console = make_console(stderr=as_json)
    try:
        reached = follow_runs(node.pk, settings, console) if is_runs else follow(node.pk, settings, console)
    except KeyboardInterrupt:
        text = f"The runs {node.pk} keep running." if is_runs else f"The search {node.pk} keeps running."
        report_interrupt(node, text, ways_on(node), as_json=as_json)
        return
    _show_end(node, settings, reached, as_json=as_json)
    if reached.has_failed:
        click.get_current_context().exit(opts.FAILED)


def _show_end(
    node: orm.WorkChainNode, settings: SearchSettings, reached: Progress | RunsProgress, *, as_json: bool
) -> None:
    """Show what a search, or several runs of one, found."""
    from aiida_fuse2 import query
    from aiida_fuse2.cli.views.answers import (
        answer_values,
        conclusion_values,
        print_conclusion,
        print_newest_answer,
    )
    from aiida_fuse2.cli.views.runs import print_runs, runs_values
    from aiida_fuse2.cli.views.tables import make_console
    from aiida_fuse2.query.finishes import newest_finish, with_phases
    from aiida_fuse2.query.targets import marked_rows, search_targets

    console, relaxed = make_console(), query.relaxed_to(node)
    if isinstance(reached, query.RunsProgress):
        rows = query.combined(query.run_searches(node), FINAL_ROWS + 1)
        if as_json:
            values = runs_values(settings, reached, rows[:FINAL_ROWS], uuid=node.uuid)
            echo_json(values | answer_values(node) | conclusion_values(node, rows))
            return
        console.print(f"runs {node.pk}:", status_text(reached), soft_wrap=True)
        print_runs(console, settings, reached, rows)
        print_newest_answer(console, node)
        print_ranked(console, rows, FINAL_ROWS, relaxed=relaxed, total_is_known=False)
        print_conclusion(console, node, rows)
        return
    targets = search_targets(node)
    rows = marked_rows(with_phases(query.ranked(node), newest_finish(node)), targets, node.pk)
    if as_json:
        values = {"targets": [asdict(target) for target in targets], "structures": rows[:FINAL_ROWS]}
        values |= answer_values(node) | conclusion_values(node, rows)
        echo_json(summary_values(settings, reached, uuid=node.uuid) | values)
        return
    console.print(f"search {node.pk}:", status_text(reached), soft_wrap=True)
    print_targets(console, targets)
    print_newest_answer(console, node)
    print_ranked(console, rows, FINAL_ROWS, relaxed=relaxed)
    print_conclusion(console, node, rows)


@cmd_root.command("stop")
@opts.SEARCH
@click.option("--now", is_flag=True, help="Kill the jobs of the current generation and omit the generation.")
@with_profile
def cmd_stop(*, search: str, now: bool) -> None:
    """Ask the search PK, or all its runs, to end after the current generation.

    It keeps everything that it has found, and finishes with exit status 700.
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


def stop_runs(node: orm.WorkChainNode, *, now: bool) -> None:
    """Ask all runs to end after their current generation, or at once."""
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
        f"The runs {node.pk} end when their current generations are relaxed, {kept}; no other run begins.\n"
        f"To end them at once, without these generations: `{hint(f'stop --now {node.pk}')}`"
    )


def _stop_left_over(node: orm.WorkChainNode, *, now: bool) -> None:
    """Ask those searches to end that still run although their runs have failed or were killed."""
    from aiida_fuse2 import query

    active = ", ".join(str(search.pk) for search in query.active_searches(node))
    if not active:
        raise CommandError(f"the runs {node.pk} have ended already; see `{hint(f'show {node.pk}')}`")
    query.ask_to_stop(node, now=now)
    when = f"at once ({killed_text(query.kill_jobs(node))})" if now else "after their current generation"
    echo(f"The runs {node.pk} have ended, but searches of them still run; these end {when}: {active}")


def killed_text(killed: int) -> str:
    """Return the number of killed jobs as text."""
    return f"{killed} running job{'' if killed == 1 else 's'} killed" if killed else "no job was running"
