"""``aiida-fuse2 status`` and ``aiida-fuse2 doctor``."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.cli.params.options import JSON, echo, echo_json, hint, with_profile
from aiida_fuse2.cli.root import cmd_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from aiida_fuse2.cli.views.details import Details
    from aiida_fuse2.core.search.state import SearchState
    from aiida_fuse2.core.settings import SearchSettings
    from aiida_fuse2.environment.findings import Finding
    from aiida_fuse2.query.refinements import RefinementProgress
    from aiida_fuse2.query.status import Progress, RunsProgress

DEFAULT_ENDED = 10
"""Number of ended searches that are listed."""

DEFAULT_INTERVAL = 2.0
MIN_INTERVAL = 0.5
"""Time between two updates, s."""

CHECK_LOOKS = 10
"""Daemon and processes are checked once in this many updates."""

COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}


@cmd_root.command("status")
@click.argument("searches", metavar="[PK]...", nargs=-1)
@click.option("-n", "--number", type=click.IntRange(min=0), default=DEFAULT_ENDED, show_default=True, metavar="N",
              help="Number of ended searches to list.")  # fmt: skip
@click.option("-a", "--all", "show_all", is_flag=True, help="List all searches that have ended.")
@click.option("-w", "--watch", is_flag=True, help="Update the list until all of it has ended, or Ctrl-C.")
@click.option("--interval", type=click.FloatRange(min=MIN_INTERVAL), default=DEFAULT_INTERVAL, show_default=True,
              metavar="S", help="Seconds between two updates with --watch.")  # fmt: skip
@JSON
@with_profile
def cmd_status(
    *, searches: tuple[str, ...], number: int, show_all: bool, watch: bool, interval: float, as_json: bool
) -> None:
    """List the searches of the profile, or those named: running ones first, then the newest.

    For one named search: its walkers with temperature and melting, the results of each move, failures by
    reason, structures per CPU hour, and the longest time that it may still take.

    Several runs of a search (`run --runs`) have a row of their own, with one below it for each unfinished run,
    or for all runs if they are named. "lower" bounds the mean chance that a structure since the best was lower, once
    enough were tried. Below the table: unfinished or named refinements; problems that hold up the
    running ones, and the commands that solve them.
    """
    from aiida_fuse2 import query
    from aiida_fuse2.cli.views.tables import make_console
    from aiida_fuse2.query import refinements

    if watch and as_json:
        raise click.UsageError("--watch shows tables; for scripts, call --json again and again")
    refined = {search: refinements.load_refinement(search, or_finish=True) for search in searches}
    named = [query.load_search_or_runs(search).pk for search, node in refined.items() if node is None]
    of_refinements = [node.pk for node in refined.values() if node is not None]

    def look() -> Look:
        if not searches:
            rows, damaged = _readable_rows(_chosen(None if show_all else number), with_ended=show_all)
            under_way = [refinements.progress(pk) for pk in refinements.under_way()]
            return Look(rows=_with_phases(rows), refinements=under_way, damaged=damaged)
        rows = _with_phases([row for pk in named for row in _rows(pk, with_ended=True)])
        return Look.of(rows, [refinements.progress(pk) for pk in of_refinements], in_full=len(searches) == 1)

    if watch:
        _watch(look, interval)
        return
    seen = look()
    problems = _problems(seen)
    if as_json:
        echo_json(
            {
                "searches": [seen.values(row) for row in seen.rows if row.n_runs is None],
                "runs": [row.values() for row in seen.rows if row.n_runs is not None],
                "refinements": [asdict(one) for one in seen.refinements],
                "problems": [asdict(finding) for finding in problems],
            }
        )
        return
    console = make_console()
    console.print(seen.view())
    for finding in problems:
        print_finding(console, finding)


@dataclass(frozen=True, kw_only=True)
class Look:
    """The state of the searches at one update.

    Attributes:
        rows: rows of the table.
        refinements: unfinished or named refinements.
        details: details of the search, if one was named.
        damaged: problems of searches that cannot be shown.
    """

    rows: Sequence[Row]
    refinements: Sequence[RefinementProgress] = ()
    details: Details | None = None
    damaged: Sequence[Finding] = ()

    @classmethod
    def of(cls, rows: Sequence[Row], refinements: Sequence[RefinementProgress], *, in_full: bool) -> Look:
        """Return an update with the details of a search if it is the only one.

        Args:
            rows: rows of the table.
            refinements: refinements below it.
            in_full: whether one search was named.
        """
        from aiida_fuse2.cli.views.details import details
        from aiida_fuse2.query.status import Progress

        only = rows[0].reached if in_full and len(rows) == 1 else None
        found = details(only, rows[0].settings, rows[0].phase) if isinstance(only, Progress) else None
        return cls(rows=rows, refinements=refinements, details=found)

    @property
    def reached(self) -> list[Progress | RunsProgress | RefinementProgress]:
        """Everything as plain values."""
        return [*(row.reached for row in self.rows), *self.refinements]

    @property
    def is_running(self) -> bool:
        """Whether anything still runs."""
        return any(not one.is_terminated for one in self.reached)

    def values(self, row: Row) -> dict[str, Any]:
        """Return a row in plain values, with the details of a named search."""
        return row.values() if self.details is None else row.values() | self.details.values(row.state)

    def view(self) -> RenderableType:
        """Return everything for a terminal."""
        from rich.console import Group

        from aiida_fuse2.cli.views.details import details_view
        from aiida_fuse2.query.status import Progress

        from .refine import refinement_text

        if not self.reached and not self.damaged:
            return _nothing_text()
        parts: list[RenderableType] = [status_table(self.rows)] if self.rows else []
        if self.details is not None and isinstance(self.rows[0].reached, Progress):
            parts += ["", details_view(self.details, self.rows[0].reached, self.rows[0].settings)]
        return Group(*parts, *(refinement_text(one) for one in self.refinements))


def _nothing_text() -> str:
    """Return why there is nothing to list."""
    from aiida_fuse2 import query

    _, ended = query.listed()
    if not ended:
        return "there is no search in this profile yet; start one with `aiida-fuse2 run`"
    have, them = ("1 search has", "it") if len(ended) == 1 else (f"{len(ended)} searches have", "them")
    return f"nothing runs; {have} ended (`{hint('status -a')}` lists {them})"


def _problems(seen: Look) -> list[Finding]:
    """Return the problems of searches that cannot be shown, and of those that run."""
    from aiida_fuse2.environment import diagnosis, processes
    from aiida_fuse2.environment.findings import Severity

    checks = (diagnosis.check_disk, diagnosis.check_daemon, processes.check_processes)
    findings = [finding for check in checks for finding in check()] if seen.is_running else []
    listed = {None, *(one.pk for one in seen.reached)}
    holding = [f for f in findings if f.severity is Severity.PROBLEM and f.search in listed]
    return [*seen.damaged, *holding]


def _watch(look: Callable[[], Look], interval: float) -> None:
    """Show updates until nothing runs any more; Ctrl-C ends only the display.

    If there is no terminal, an update is printed only if it differs from the one before.
    """
    from rich.live import Live

    from aiida_fuse2.cli.views.tables import make_console

    console = make_console()
    try:
        if not console.is_terminal:
            _print_looks(look, interval, console)
            return
        with Live(console=console, auto_refresh=False) as live:
            for view in _views(look, interval):
                live.update(view, refresh=True)
    except KeyboardInterrupt:
        echo("")


def _print_looks(look: Callable[[], Look], interval: float, console: Console) -> None:
    before = ""
    for view in _views(look, interval):
        with console.capture() as capture:
            console.print(view)
        if capture.get() != before:
            before = capture.get()
            echo(before)


def _views(look: Callable[[], Look], interval: float) -> Iterator[RenderableType]:
    """Yield updates until nothing runs, with the problems that hold searches up; these are checked more rarely."""
    from rich.console import Group

    problems: list[Finding] = []
    for number in count():
        seen = look()
        if number % CHECK_LOOKS == 0:
            problems = _problems(seen)
        yield Group(seen.view(), *(finding_text(f) for f in (problems if seen.is_running else seen.damaged)))
        if not seen.is_running:
            return
        time.sleep(interval)


def _chosen(number: int | None) -> list[int]:
    """Return the running searches, and the newest of those that have ended."""
    from aiida_fuse2 import query

    running, ended = query.listed()
    return running + (ended if number is None else ended[:number])


@dataclass(frozen=True, kw_only=True)
class Row:
    """A search, or several runs of one, in the table.

    Attributes:
        settings: settings of the search; of runs, those of run 0.
        reached: progress of the search.
        state: state of a search, after its last generation.
        of_runs: primary key of the runs that the search belongs to, or None.
        n_runs: number of runs in this row, or None for a search.
        phase: lowest phase of the newest answer, a row of ``query.finishes.phases``; None if there is no answer.
    """

    settings: SearchSettings
    reached: Progress | RunsProgress
    state: SearchState | None = None
    of_runs: int | None = None
    n_runs: int | None = None
    phase: Mapping[str, Any] | None = None

    @property
    def chance(self) -> float | None:
        """Bound on the mean chance of a lower structure since the last new best, as the search counts to stop by it."""
        if self.state is None or self.state.watch.missing_sizes(self.settings):
            return None
        return self.state.watch.chance(self.settings.stop_confidence)

    @property
    def max_structures(self) -> int:
        """Number of structures to try."""
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
            "answer": None if self.phase is None else dict(self.phase),
            "structures_per_hour": reached.rate,
            "elapsed_seconds": reached.elapsed,
        }
        if self.n_runs is not None:
            return common | {"n_runs": self.n_runs}
        generation = None if self.state is None else self.state.generation
        return common | {"generation": generation, "chance": self.chance, "runs": self.of_runs}


def _readable_rows(pks: Sequence[int], *, with_ended: bool) -> tuple[list[Row], list[Finding]]:
    """Return the rows of searches and runs, and the problems of those that cannot be read."""
    from aiida_fuse2.core.errors import Fuse2Error
    from aiida_fuse2.environment.findings import Finding, Severity

    rows: list[Row] = []
    damaged = []
    for pk in pks:
        try:
            rows += _rows(pk, with_ended=with_ended)
        except Fuse2Error as error:  # one bad archive must not hide the other searches
            text = f"{pk} cannot be shown: {error}"
            damaged.append(Finding(subject="search", severity=Severity.PROBLEM, text=text, command=None, search=pk))
    return rows, damaged


def _with_phases(rows: Sequence[Row]) -> list[Row]:
    """Return rows with the lowest phases of their answers."""
    from aiida import orm

    from aiida_fuse2.query.finishes import lowest_phases

    found = lowest_phases(orm.load_node(row.reached.pk) for row in rows)
    return [replace(row, phase=found.get(row.reached.pk)) for row in rows]


def _rows(pk: int, *, with_ended: bool) -> list[Row]:
    """Return the row of a search, or those of runs and of their searches, at least the unfinished ones."""
    from aiida import orm

    from aiida_fuse2 import query

    node = orm.load_node(pk)
    if not query.is_runs(node):
        search = query.progress(pk)
        return [Row(settings=query.search_settings_of(pk), reached=search, state=search.state)]
    settings, runs = query.runs_settings(node), query.runs_progress(pk)
    shown = [search for search in runs.searches if with_ended or not search.is_terminated]
    below = [Row(settings=settings, reached=search, state=search.state, of_runs=pk) for search in shown]
    return [Row(settings=settings, reached=runs, n_runs=runs.n_runs), *below]


def status_table(rows: Sequence[Row]) -> Table:
    """Return the table of searches."""
    from aiida_fuse2.cli.views.tables import plain_table

    titles = ("PK", "composition", "state", "structures", "best", "lower", "per h")
    right = {"PK", "structures", "lower", "per h"}
    table = plain_table([(title, title in right) for title in titles], header_style="dim")
    for row in rows:
        rate = "" if row.reached.rate is None else f"{row.reached.rate:.0f}"
        composition = row.settings.composition if row.n_runs is None else f"{row.settings.composition} x {row.n_runs}"
        table.add_row(
            str(row.reached.pk),
            composition if row.of_runs is None else f"  of {row.of_runs}",
            _state_text(row.reached),
            f"{row.reached.tried}/{row.max_structures}",
            _best_text(row),
            "" if row.chance is None else f"< {100 * row.chance:.2g} %",
            rate,
        )
    return table


def _best_text(row: Row) -> str:
    """Return energy, space group and structure type of the lowest phase; without an answer, of the best structure."""
    from aiida_fuse2.core.answer.conclusion import phase_name

    if row.phase is not None:
        return f"{row.phase['energy']:.4f} {phase_name(row.phase['spacegroup_symbol'], row.phase['type'])}"
    best = row.reached.best
    return "" if best is None else f"{best.energy:.4f} {best.symbol}"


def _state_text(reached: Progress | RunsProgress) -> Text:
    from aiida_fuse2.cli.views.tables import coloured

    if not reached.is_terminated:
        notes = [coloured(("paused", "yellow"))] if reached.is_paused else []
        notes += [coloured(("stopping", "yellow"))] if reached.is_stopping else []
        return coloured(", ").join([*notes, coloured(reached.phase)])
    if reached.exit_status == 0:
        return coloured(("finished", "green"))
    colour = "red" if reached.has_failed else "yellow"
    word = "stopped" if not reached.has_failed else "failed" if reached.exit_status else reached.process_state
    return coloured((word, colour), f" ({reached.exit_status})" if reached.exit_status else "")


@cmd_root.command("doctor")
@click.option("--connect", is_flag=True, help="Connect to the computers of codes on other machines.")
@click.option(
    "--mend", is_flag=True, help="Seal unfinished processes that kills have left behind in searches that have ended."
)
@JSON
@with_profile
def cmd_doctor(*, connect: bool, mend: bool, as_json: bool) -> None:
    """Find problems that keep searches from advancing, and show the commands that solve them.

    Checks disk, daemon, broker, codes and processes. The exit code is 1 if something has to be done.
    """
    from aiida_fuse2.cli.views.tables import make_console
    from aiida_fuse2.environment import diagnosis
    from aiida_fuse2.environment.findings import Severity
    from aiida_fuse2.environment.processes import mend as mend_all

    findings = [*(mend_all() if mend else []), *diagnosis.examine(connect=connect)]
    if as_json:
        echo_json([asdict(finding) for finding in findings])
    else:
        console = make_console()
        for finding in findings:
            print_finding(console, finding)
    if any(finding.severity is Severity.PROBLEM for finding in findings):
        click.get_current_context().exit(1)


def print_finding(console: Console, finding: Finding) -> None:
    """Print the findings and what to do about them."""
    console.print(finding_text(finding), soft_wrap=True)


def finding_text(finding: Finding) -> Text:
    """Return the findings and what to do about them, in colour."""
    from aiida_fuse2.cli.views.tables import coloured

    command = ("", "") if finding.command is None else (f"\n         {finding.command}", "bold")
    mark = (f"{finding.severity:>7}", COLOURS[finding.severity])
    return coloured(mark, f"  {finding.subject}: {finding.text}", command)
