"""``aiida-fuse2 show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import JSON, NEWEST_SEARCH, echo_json, with_profile
from .root import cmd_root

if TYPE_CHECKING:
    from rich.console import Console

    from aiida_fuse2.core.settings import SearchSettings
    from aiida_fuse2.query import Progress, RunsProgress

DEFAULT_ROWS = 20
"""Structures in the table."""


@cmd_root.command("show")
@NEWEST_SEARCH
@click.option("-n", "--number", type=click.IntRange(min=1), metavar="N", help="Structures; 20, or all with --json.")
@JSON
@with_profile
def cmd_show(*, search: str | None, number: int | None, as_json: bool) -> None:
    """Show what the search PK (the newest one if left out) has found, lowest energy first.

    Of several runs of a search (`run --runs`), PK shows each run, how far their lowest energies lie apart, and
    what they have found together.

    Structures that are equal count once; "found" says how often. "space group" is the one at the loose
    tolerance (0.1 Å unless set), "tight" that at the tight one (0.01 Å). Works while the search runs.
    """
    from aiida_fuse2 import query

    from .runs import show_runs
    from .tables import make_console

    node = query.load_search_or_runs(search)
    if query.is_runs(node):
        show_runs(node, number, as_json=as_json)
        return
    settings, reached = query.search_settings(node), query.progress(node.pk)
    rows = query.ranked(node)
    if as_json:
        echo_json(summary_values(settings, reached, uuid=node.uuid) | {"structures": rows[:number]})
        return
    console = make_console()
    print_header(console, settings, reached)
    print_ranked(console, rows, number or DEFAULT_ROWS)


def summary_values(settings: SearchSettings, reached: Progress, *, uuid: str) -> dict[str, Any]:
    """Return a search in plain values."""
    state = reached.state
    return {
        "pk": reached.pk,
        "uuid": uuid,
        "composition": settings.composition,
        "generator": settings.generator,
        "seed": settings.seed,
        "process_state": reached.process_state,
        "exit_status": reached.exit_status,
        "exit_message": reached.exit_message,
        "structures_tried": state.tried if state else 0,
        "structures_explored": state.explored if state else 0,
        "structures_unique": state.unique if state else 0,
        "max_structures": settings.max_structures,
        "failures": state.failures if state else {},
    }


def print_header(console: Console, settings: SearchSettings, reached: Progress) -> None:
    """Print what was searched and how far the search is."""
    from .tables import counts_text

    console.print(
        f"[bold]{settings.composition}[/bold]  search {reached.pk}, {settings.generator} starts, seed {settings.seed}, "
        f"at most {settings.max_atoms} atoms"
    )
    console.print(status_text(reached), soft_wrap=True)
    state = reached.state
    if state is not None:
        console.print(
            f"{state.tried} of {settings.max_structures} structures tried, {state.explored} explored, "
            f"{state.unique} unique; failures: {counts_text(state.failures)}"
        )


def status_text(reached: Progress | RunsProgress) -> str:
    """Return how a search, or several runs of one, stand; with the exit message where it has ended."""
    from rich.markup import escape

    if not reached.is_terminated:
        return "stopping after this generation" if reached.is_stopping else f"running: {escape(reached.phase)}"
    if reached.exit_status == 0:
        return "[green]finished[/green]"
    colour = "red" if reached.has_failed else "yellow"
    status = "" if reached.exit_status is None else f" with exit status {reached.exit_status}"
    message = "" if not reached.exit_message else f": {escape(_last_line(reached.exit_message))}"
    return f"[{colour}]{reached.process_state}{status}[/{colour}]{message}"


def _last_line(text: str) -> str:
    """Return the last line of a message; that of a traceback says what happened."""
    return text.strip().splitlines()[-1]


def print_ranked(console: Console, rows: list[dict[str, Any]], limit: int, *, total_is_known: bool = True) -> None:
    """Print the ranked table and say what was left out.

    Args:
        console: to print to.
        rows: lowest energy first.
        limit: how many to print.
        total_is_known: whether these are all rows; otherwise one beyond the limit tells that there are more.
    """
    from .tables import ranked_table

    if not rows:
        console.print("no structure explored yet")
        return
    console.print()
    console.print(ranked_table(rows, limit, width=console.width))
    if len(rows) > limit:
        more = f"and {len(rows) - limit} more (-n {len(rows)})" if total_is_known else f"and more (-n {2 * limit})"
        console.print(more)
