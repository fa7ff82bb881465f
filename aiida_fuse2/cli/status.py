"""``aiida-fuse2 status`` and ``aiida-fuse2 doctor``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from .options import JSON, echo_json, with_profile
from .root import cmd_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from aiida_fuse2.core.settings import SearchSettings
    from aiida_fuse2.core.state import SearchState
    from aiida_fuse2.diagnosis import Finding
    from aiida_fuse2.query import BestFound, Progress, RunsProgress

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

    Several runs of a search (`run --runs`) have a row of their own, with one below it for each that is under way,
    or for all of them where they are named. Under the table: what holds up the running ones, and the command that
    mends it.
    """
    from aiida_fuse2 import diagnosis, query

    from .tables import make_console

    nodes = [query.load_search_or_runs(search) for search in searches]
    pks = [node.pk for node in nodes] or _chosen(None if show_all else number)
    rows = _rows(pks, with_ended=bool(searches) or show_all)
    is_running = any(not row.reached.is_terminated for row in rows)
    findings = [*diagnosis.check_daemon(), *diagnosis.check_processes()] if is_running else []
    listed = {None, *(row.reached.pk for row in rows)}
    problems = [f for f in findings if f.severity is diagnosis.Severity.PROBLEM and f.search in listed]
    if as_json:
        echo_json(
            {
                "searches": [row.values() for row in rows if row.n_runs is None],
                "runs": [row.values() for row in rows if row.n_runs is not None],
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
    """Return what runs, and the newest of what has ended."""
    from aiida_fuse2 import query

    running, ended = query.listed()
    return running + (ended if number is None else ended[:number])


@dataclass(frozen=True, kw_only=True)
class Row:
    """A search, or several runs of one, in the table.

    Attributes:
        settings: of the search; of runs, those of run 0.
        reached: how far it is.
        state: of a search, after its last generation.
        of_runs: of a search that belongs to runs, their primary key.
        n_runs: how many runs this stands for, or None for a search.
    """

    settings: SearchSettings
    reached: Progress | RunsProgress
    state: SearchState | None = None
    of_runs: int | None = None
    n_runs: int | None = None

    @property
    def max_structures(self) -> int:
        """Structures that are to be tried."""
        return self.settings.max_structures * (self.n_runs or 1)

    def values(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        reached = self.reached
        common = {
            "pk": reached.pk,
            "composition": self.settings.composition,
            "process_state": reached.process_state,
            "exit_status": reached.exit_status,
            "is_paused": reached.is_paused,
            "is_stopping": reached.is_stopping,
            "phase": reached.phase,
            "structures_tried": reached.tried,
            "max_structures": self.max_structures,
            "best": None if reached.best is None else asdict(reached.best),
            "structures_per_hour": reached.rate,
            "elapsed_seconds": reached.elapsed,
        }
        if self.n_runs is not None:
            return common | {"n_runs": self.n_runs}
        return common | {"generation": None if self.state is None else self.state.generation, "runs": self.of_runs}


def _rows(pks: Sequence[int], *, with_ended: bool) -> list[Row]:
    """Return the rows of searches and runs; below runs their searches, at least those under way."""
    from aiida import orm

    from aiida_fuse2 import query

    rows = []
    for pk in pks:
        node = orm.load_node(pk)
        if query.is_runs(node):
            settings, runs = query.runs_settings(node), query.runs_progress(pk)
            rows.append(Row(settings=settings, reached=runs, n_runs=runs.n_runs))
            shown = [search for search in runs.searches if with_ended or not search.is_terminated]
            rows += [Row(settings=settings, reached=search, state=search.state, of_runs=pk) for search in shown]
        else:
            search = query.progress(pk)
            rows.append(Row(settings=query.search_settings_of(pk), reached=search, state=search.state))
    return rows


def status_table(rows: Sequence[Row]) -> Table:
    """Return the table of searches."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("PK", "composition", "state", "structures", "best", "per h"):
        table.add_column(title, justify="right" if title in {"PK", "structures", "per h"} else "left")
    for row in rows:
        rate = "" if row.reached.rate is None else f"{row.reached.rate:.0f}"
        composition = row.settings.composition if row.n_runs is None else f"{row.settings.composition} x {row.n_runs}"
        table.add_row(
            str(row.reached.pk),
            composition if row.of_runs is None else f"  of {row.of_runs}",
            _state_text(row.reached),
            f"{row.reached.tried}/{row.max_structures}",
            _best_text(row.reached.best),
            rate,
        )
    return table


def _best_text(best: BestFound | None) -> str:
    return "" if best is None else f"{best.energy:.4f} {best.symbol}"


def _state_text(reached: Progress | RunsProgress) -> str:
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
@click.option("--mend", is_flag=True, help="Seal what kills have left behind in searches that have ended.")
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
