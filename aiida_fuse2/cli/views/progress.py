"""Live progress of a search: a panel in a terminal, a line for each generation elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from aiida import orm
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aiida_fuse2.cli.params.options import echo, echo_json
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.settings import SearchSettings
from aiida_fuse2.environment.daemon import daemon_problem
from aiida_fuse2.query.status import BestFound, ProcessProgress, Progress, RunsProgress, duration_text, progress

from .tables import coloured, counts_text, spacegroup_text

P = TypeVar("P", bound=ProcessProgress)

POLL_INTERVAL = 1.0
"""Time between two queries of the graph, s."""

DAEMON_POLLS = 10
"""The daemon is checked once in this many polls."""

BAR_WIDTH = 30
"""Width of the bar in columns."""

PANEL_WIDTH = 80
"""Width of the panel in columns, if the terminal is wide enough."""


def polls(ask: Callable[[], P]) -> Iterator[tuple[P, str | None]]:
    """Yield progress and the problem of the daemon, until the process has ended.

    Args:
        ask: returns the progress.
    """
    problem, number = None, 0
    while True:
        reached = ask()
        if reached.is_terminated:
            yield reached, None
            return
        if number % DAEMON_POLLS == 0:
            problem = daemon_problem()
        yield reached, problem
        number += 1
        time.sleep(POLL_INTERVAL)


def follow_progress(
    ask: Callable[[], P],
    console: Console,
    *,
    show: Callable[[P, str | None], Panel],
    news: Callable[[P], Iterable[Text]],
    stuck: str,
) -> P:
    """Show progress until the process has ended.

    Args:
        ask: returns the progress.
        console: gets a live panel if it is a terminal, else lines.
        show: returns the panel of the progress and of the problem of the daemon, or None.
        news: returns the new lines since its last call.
        stuck: text before the reason why nothing advances.

    Raises:
        KeyboardInterrupt: if the user ends the display; the process continues.
    """
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for reached, problem in polls(ask):
                live.update(show(reached, problem), refresh=True)
        return reached
    told: str | None = None
    for reached, problem in polls(ask):
        if problem is not None and problem != told:
            console.print(f"{stuck}: {problem}", soft_wrap=True)
        told = problem
        for line in news(reached):
            console.print(line, soft_wrap=True)
    return reached


def follow(search: int, settings: SearchSettings, console: Console) -> Progress:
    """Show the progress of a search until it ends, as ``follow_progress`` does, by its generations."""
    return follow_progress(
        lambda: progress(search),
        console,
        show=lambda reached, problem: panel(reached, settings, problem),
        news=generation_news(settings),
        stuck="the search does not advance",
    )


def generation_news(settings: SearchSettings) -> Callable[[Progress], Iterator[Text]]:
    """Return the function that yields a line for the last generation of a search, if it is a new one."""
    shown: dict[int, int] = {}

    def news(reached: Progress) -> Iterator[Text]:
        state = reached.state
        if state is not None and state.generation != shown.get(reached.pk):
            shown[reached.pk] = state.generation
            yield coloured(generation_line(reached, state, settings))

    return news


# --- texts --------------------------------------------------------------------------------------


def best_text(best: BestFound | None) -> str:
    """Return energy and space group of the best structure."""
    if best is None:
        return "none yet"
    return f"{best.energy:.4f} eV/atom {spacegroup_text(best.symbol, best.number)}"


def target_text(name: str, state: SearchState | None) -> str:
    """Return whether a target was found, and after how many structures, as text."""
    found = None if state is None else state.targets.get(name)
    if found is None:
        return f"{name} not found yet" if state is None or not state.tried else f"{name} not among {state.tried} so far"
    return f"{name} found after {found.structure_number} structures (rms {found.rms:.3f} Å, {found.energy:.4f} eV/atom)"


def targets_text(reached: Progress) -> str:
    """Return which targets of a search were found, as text; empty if it has none."""
    return "; ".join(target_text(name, reached.state) for name in reached.targets)


def acceptance_text(state: SearchState) -> str:
    """Return how many of the walkers' steps were accepted."""
    accepted = sum(walker.accepted for walker in state.walkers)
    steps = accepted + sum(walker.rejected for walker in state.walkers)
    return f"{accepted} of {steps} steps" + (f" ({100 * accepted / steps:.0f} %)" if steps else "")


def walkers_text(state: SearchState, settings: SearchSettings) -> str:
    """Return the temperatures of the walkers and how many have melted."""
    temperatures = [walker.thermostat.temperature for walker in state.walkers]
    low, high = f"{min(temperatures):.3f}", f"{max(temperatures):.3f}"
    span = low if low == high else f"{low} to {high}"
    melted = sum(walker.thermostat.is_melted(settings.acceptance) for walker in state.walkers)
    return f"{len(state.walkers)} at T {span} eV/atom, {melted} melted"


def speed_text(reached: Progress, settings: SearchSettings) -> str:
    """Return structures per hour and the expected time left."""
    if reached.rate is None:
        return "not known yet"
    left = reached.seconds_left(settings)
    rest = "" if left is None else f", at most {duration_text(left)} left"
    return f"{reached.rate:.0f} structures per hour{rest}"


def generation_line(reached: Progress, state: SearchState, settings: SearchSettings) -> str:
    """Return the progress after a generation as one line."""
    parts = [
        f"generation {state.generation - 1}: {state.tried} of {settings.max_structures} structures",
        f"{state.unique} unique",
        f"best {best_text(reached.best)}",
        f"failed: {counts_text(state.failures)}",
        f"accepted {acceptance_text(state)}",
        speed_text(reached, settings),
    ]
    if reached.targets:
        parts.append(f"target {targets_text(reached)}")
    return "; ".join(parts)


def report_interrupt(node: orm.WorkChainNode, text: str, ways: Mapping[str, str], *, as_json: bool) -> None:
    """Print that a process keeps running after its display has ended, and the commands for it.

    Args:
        node: process that keeps running.
        text: text that says so.
        ways: effect of each command, by command.
        as_json: whether the standard output has JSON.
    """
    echo("\n".join([f"\n{text}", *(f"  {command}: {what}" for command, what in ways.items())]), err=as_json)
    if as_json:
        echo_json({"pk": node.pk, "uuid": node.uuid, "process_state": "running"})


# --- panel --------------------------------------------------------------------------------------


def panel(reached: Progress, settings: SearchSettings, problem: str | None) -> Panel:
    """Return the panel of a search.

    Args:
        reached: progress of the search.
        settings: settings of the search.
        problem: problem of the daemon that stops it, or None.
    """
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, content in _rows(reached, settings):
        grid.add_row(name, content)
    return framed([grid], reached, settings, problem, what="search", width=PANEL_WIDTH)


def framed(
    contents: Sequence[RenderableType],
    reached: Progress | RunsProgress,
    settings: SearchSettings,
    problem: str | None,
    *,
    what: str,
    width: int,
) -> Panel:
    """Return a panel with its contents one below the other.

    Args:
        contents: contents of the panel.
        reached: progress of the search or of the runs.
        settings: settings of the search.
        problem: problem of the daemon that stops it, or None.
        what: ``search`` or ``runs``.
        width: columns, if the terminal has as many.
    """
    is_stuck = problem is not None and not reached.is_terminated
    does = "do" if what == "runs" else "does"
    trouble = [coloured((f"The {what} {does} not advance: {problem}", "bold red"))] if is_stuck else []
    return Panel(
        Group(*contents, *trouble),
        title=coloured((settings.composition, "bold"), f" {what} {reached.pk}"),
        subtitle=None if reached.is_terminated else f"Ctrl-C leaves the {what} running",
        title_align="left",
        subtitle_align="left",
        width=width,
        padding=(0, 1),
    )


def _rows(reached: Progress, settings: SearchSettings) -> Iterator[tuple[str, RenderableType]]:
    yield "now", _phase_text(reached)
    state = reached.state
    tried = 0 if state is None else state.tried
    yield "structures", _bar(tried, settings.max_structures)
    if state is not None:
        yield "", f"{state.explored} explored, {state.unique} unique, {state.since_best} since the best"
        yield "best", coloured((best_text(reached.best), "bold"), _best_details(reached.best))
        yield "failed", counts_text(state.failures)
        yield "accepted", acceptance_text(state)
        yield "walkers", walkers_text(state, settings)
    if reached.targets:
        yield "target", targets_text(reached)
    yield "speed", speed_text(reached, settings)
    yield "time", duration_text(reached.elapsed)


def _phase_text(reached: Progress) -> str:
    if reached.is_terminated:
        return reached.process_state
    notes = ["paused: `verdi process play` continues it"] if reached.is_paused else []
    notes += ["will stop after this generation"] if reached.is_stopping else []
    return "; ".join([reached.phase, *notes])


def _bar(tried: int, total: int) -> Table:
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(total=total, completed=tried, width=BAR_WIDTH), f"{tried} of {total}")
    return bar


def _best_details(best: BestFound | None) -> str:
    if best is None:
        return ""
    atoms = "" if best.n_atoms is None else f", {best.n_atoms} atoms"
    return f"{atoms}, structure {best.structure_number}"
