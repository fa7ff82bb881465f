"""``aiida-fuse2 status`` and ``aiida-fuse2 doctor``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from .options import JSON, echo_json, with_profile
from .root import cmd_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from aiida_fuse2.core.settings import SearchSettings
    from aiida_fuse2.diagnosis import Finding
    from aiida_fuse2.query import Progress

DEFAULT_ENDED = 10
"""Searches that have ended which are listed."""

COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}


@cmd_root.command("status")
@click.argument("searches", metavar="[PK]...", nargs=-1)
@click.option("-n", "--number", type=click.IntRange(min=0), default=DEFAULT_ENDED, show_default=True, metavar="N",
              help="How many of the searches that have ended.")  # fmt: skip
@click.option("-a", "--all", "show_all", is_flag=True, help="All searches that have ended.")
@JSON
@with_profile
def cmd_status(*, searches: tuple[str, ...], number: int, show_all: bool, as_json: bool) -> None:
    """List the searches of the profile, or those named: running ones first, then the newest.

    Under the table: what holds up the running ones, and the command that mends it.
    """
    from aiida_fuse2 import diagnosis, query

    from .tables import make_console

    pks = [query.load_search(search).pk for search in searches] or _chosen(None if show_all else number)
    rows = [(query.search_settings_of(pk), query.progress(pk)) for pk in pks]
    is_running = any(not reached.is_terminated for _, reached in rows)
    findings = [*diagnosis.check_daemon(), *diagnosis.check_processes()] if is_running else []
    problems = [f for f in findings if f.severity is diagnosis.Severity.PROBLEM and f.search in {None, *pks}]
    if as_json:
        echo_json(
            {
                "searches": [_values(settings, reached) for settings, reached in rows],
                "problems": [asdict(finding) for finding in problems],
            }
        )
        return
    console = make_console()
    if not rows:
        console.print("there is no search in this profile yet; start one with `aiida-fuse2 run`")
        return
    console.print(status_table(rows))
    for finding in problems:
        print_finding(console, finding)


def _chosen(number: int | None) -> list[int]:
    """Return the searches that run, and the newest that have ended."""
    from aiida_fuse2 import query

    running, ended = query.searches()
    return running + (ended if number is None else ended[:number])


def _values(settings: SearchSettings, reached: Progress) -> dict[str, Any]:
    state, best = reached.state, reached.best
    return {
        "pk": reached.pk,
        "composition": settings.composition,
        "process_state": reached.process_state,
        "exit_status": reached.exit_status,
        "is_paused": reached.is_paused,
        "is_stopping": reached.is_stopping,
        "phase": reached.phase,
        "generation": None if state is None else state.generation,
        "structures_tried": 0 if state is None else state.tried,
        "max_structures": settings.max_structures,
        "best": None if best is None else asdict(best),
        "structures_per_hour": reached.rate,
        "elapsed_seconds": reached.elapsed,
    }


def status_table(rows: Sequence[tuple[SearchSettings, Progress]]) -> Table:
    """Return the table of searches."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("PK", "composition", "state", "structures", "best", "per h"):
        table.add_column(title, justify="right" if title in {"PK", "structures", "per h"} else "left")
    for settings, reached in rows:
        state = reached.state
        tried = 0 if state is None else state.tried
        rate = "" if reached.rate is None else f"{reached.rate:.0f}"
        table.add_row(
            str(reached.pk),
            settings.composition,
            _state_text(reached),
            f"{tried}/{settings.max_structures}",
            _best_text(reached),
            rate,
        )
    return table


def _best_text(reached: Progress) -> str:
    best = reached.best
    return "" if best is None else f"{best.energy:.4f} {best.symbol}"


def _state_text(reached: Progress) -> str:
    from rich.markup import escape

    if not reached.is_terminated:
        notes = ["[yellow]paused[/yellow]"] if reached.is_paused else []
        notes += ["[yellow]stopping[/yellow]"] if reached.is_stopping else []
        return ", ".join([*notes, escape(reached.phase)])
    if reached.exit_status == 0:
        return "[green]finished[/green]"
    colour = "red" if reached.has_failed else "yellow"
    word = "stopped" if not reached.has_failed else "failed" if reached.exit_status else reached.process_state
    return f"[{colour}]{word}[/{colour}]" + (f" ({reached.exit_status})" if reached.exit_status else "")


@cmd_root.command("doctor")
@click.option("--connect", is_flag=True, help="Connect to the machines of codes that are not this one.")
@click.option("--mend", is_flag=True, help="Seal steps that kills have left behind in searches that have ended.")
@JSON
@with_profile
def cmd_doctor(*, connect: bool, mend: bool, as_json: bool) -> None:
    """Look for what keeps searches from advancing, and tell the command that mends it.

    Looks at disk, daemon, broker, codes and processes. The exit code is 1 where something has to be done.
    """
    from aiida_fuse2 import diagnosis

    from .tables import make_console

    findings = [*(diagnosis.mend() if mend else []), *diagnosis.examine(connect=connect)]
    if as_json:
        echo_json([asdict(finding) for finding in findings])
    else:
        console = make_console()
        for finding in findings:
            print_finding(console, finding)
    if any(finding.severity is diagnosis.Severity.PROBLEM for finding in findings):
        click.get_current_context().exit(1)


def print_finding(console: Console, finding: Finding) -> None:
    """Print what was found, and what to do about it."""
    from rich.markup import escape

    colour = COLOURS[finding.severity]
    console.print(
        f"[{colour}]{finding.severity:>7}[/{colour}]  {finding.subject}: {escape(finding.text)}", soft_wrap=True
    )
    if finding.command is not None:
        console.print(f"         [bold]{escape(finding.command)}[/bold]", soft_wrap=True, highlight=False)
