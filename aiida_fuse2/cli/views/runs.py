"""The texts that commands print on several runs of a search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    from aiida_fuse2.core.settings import SearchSettings
    from aiida_fuse2.query.status import Progress, RunsProgress
    from aiida_fuse2.query.targets import Target

PANEL_WIDTH = 88
"""Width of the live panel in columns, if the terminal is wide enough."""


# --- values and texts ---------------------------------------------------------------------------


def runs_values(
    settings: SearchSettings, reached: RunsProgress, rows: list[dict[str, Any]], *, uuid: str
) -> dict[str, Any]:
    """Return runs in plain values."""
    from .ranked import common_values

    lowest = reached.lowest
    best = None if lowest is None else reached.searches[lowest].best
    return {
        **common_values(settings, reached, uuid=uuid),
        "n_runs": reached.n_runs,
        "runs": [_run_values(run, search, settings, reached) for run, search in enumerate(reached.searches)],
        "lowest": None if best is None else {"run": lowest, "pk": best.pk, "energy": best.energy},
        **_statistics(reached.energies),
        "hits": len(rows[0]["runs"]) if rows else 0,
        "structures": rows,
    }


def _run_values(run: int, search: Progress, settings: SearchSettings, reached: RunsProgress) -> dict[str, Any]:
    from .ranked import structure_counts

    best = search.best
    return {
        "run": run,
        "seed": settings.seed + run,
        "pk": search.pk,
        "process_state": search.process_state,
        "exit_status": search.exit_status,
        "exit_message": search.exit_message,
        **structure_counts(search),
        "energy": best.energy if best else None,
        "difference": best.energy - min(reached.energies) if best else None,
        "spacegroup_loose": best.number if best else None,
        "spacegroup_symbol_loose": best.symbol if best else None,
        "structure_number": best.structure_number if best else None,
    }


def _statistics(energies: list[float]) -> dict[str, float | None]:
    """Return mean, spread and standard deviation of the lowest energies, eV/atom."""
    return {
        "mean": fmean(energies) if energies else None,
        "spread": max(energies) - min(energies) if energies else None,
        "standard_deviation": stdev(energies) if len(energies) > 1 else None,
    }


def print_runs(console: Console, settings: SearchSettings, reached: RunsProgress, rows: list[dict[str, Any]]) -> None:
    """Print a row for each run, and how far the runs lie apart."""
    console.print()
    console.print(runs_table(reached, settings, width=console.width))
    for line in summary_lines(reached, rows):
        console.print(line, soft_wrap=True)


def summary_lines(reached: RunsProgress, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lowest structure of all, the number of runs that found it, and how far the runs lie apart."""
    from .tables import spacegroup_text

    lowest = reached.lowest
    best = None if lowest is None else reached.searches[lowest].best
    if best is None:
        return
    with_structure = len(reached.energies)
    plural = "" if with_structure == 1 else "s"
    hits = len(rows[0]["runs"]) if rows else 0
    group = spacegroup_text(best.symbol, best.number)
    yield f"\nlowest of all {best.energy:.4f} eV/atom {group}, found by {hits} of {with_structure} run{plural}"
    if with_structure > 1:
        values = _statistics(reached.energies)
        spread, deviation = 1000 * (values["spread"] or 0), 1000 * (values["standard_deviation"] or 0)
        yield (
            f"lowest energies: spread {spread:.1f} meV/atom, mean {values['mean']:.4f} eV/atom, "
            f"standard deviation {deviation:.1f} meV/atom"
        )


def target_lines(looked_for: Sequence[Sequence[Target]]) -> Iterator[str]:
    """Yield the number of runs that found each target, and when.

    Args:
        looked_for: targets of each run.
    """
    from aiida_fuse2.core.search.targets import missed_text

    by_name: dict[str, list[Target]] = {}
    for target in (target for known in looked_for for target in known):
        by_name.setdefault(target.name, []).append(target)
    for name, known in by_name.items():
        after = [str(target.structure_number) for target in known if target.structure_number is not None]
        when = f", after {', '.join(after)} structures" if after else ""
        above = [target.above for target in known if target.above is not None]
        missed = f"; {missed_text(max(above), 'all runs')}" if above and not after else ""
        plural = "" if len(known) == 1 else "s"
        yield f"target {name}: found by {len(after)} of {len(known)} run{plural}{when}{missed}"


def runs_table(reached: RunsProgress, settings: SearchSettings, *, width: int) -> Table:
    """Return a table with a row for each run.

    Args:
        reached: how far the runs are.
        settings: settings of run 0.
        width: columns of text; if there are few, the number of unique structures is omitted.
    """
    from .tables import UNBOUNDED_WIDTH, PlainConsole

    for is_narrow in (False, True):
        table = _runs_table(reached, settings, is_narrow=is_narrow)
        if PlainConsole(width=UNBOUNDED_WIDTH).measure(table).maximum <= width:
            break
    return table


def _runs_table(reached: RunsProgress, settings: SearchSettings, *, is_narrow: bool) -> Table:
    from .tables import plain_table

    titles = (
        "run",
        "seed",
        "state",
        "structures",
        "unique",
        "E\neV/atom",
        "ΔE\nmeV/atom",
        "space group",
        "found at",
        "PK",
    )
    shown = [title for title in titles if not (is_narrow and title == "unique")]
    table = plain_table((title, title not in {"state", "space group"}) for title in shown)
    for run in range(reached.n_runs):
        cells = _run_cells(run, reached, settings)
        table.add_row(*(cells[:4] + cells[5:] if is_narrow else cells))
    return table


def _run_cells(run: int, reached: RunsProgress, settings: SearchSettings) -> list[str | Text]:
    from .tables import spacegroup_text

    seed = str(settings.seed + run)
    if run >= len(reached.searches):
        state = "not begun" if reached.is_terminated or reached.is_stopping else "waits"
        return [str(run), seed, state, "", "", "", "", "", "", ""]
    search = reached.searches[run]
    tried, unique = (search.state.tried, search.state.unique) if search.state else (0, 0)
    cells: list[str | Text] = [
        str(run),
        seed,
        short_state(search),
        f"{tried} of {settings.max_structures}",
        str(unique),
    ]
    best = search.best
    if best is None:
        return [*cells, "", "", "", "", str(search.pk)]
    delta = 1000 * (best.energy - min(reached.energies))
    group = spacegroup_text(best.symbol, best.number)
    return [*cells, f"{best.energy:.4f}", f"{delta:.1f}", group, str(best.structure_number), str(search.pk)]


def short_state(search: Progress) -> Text:
    """Return the status of a run in one or two words."""
    from aiida_fuse2.query.status import STOPPED_EXIT

    from .tables import coloured

    if not search.is_terminated:
        return coloured("paused" if search.is_paused else "stopping" if search.is_stopping else "running")
    if search.exit_status == 0:
        return coloured(("finished", "green"))
    if search.exit_status == STOPPED_EXIT:
        return coloured(("stopped", "yellow"))
    status = search.process_state if search.exit_status is None else f"failed {search.exit_status}"
    return coloured((status, "red"))


# --- live progress ------------------------------------------------------------------------------


def follow_runs(runs: int, settings: SearchSettings, console: Console) -> RunsProgress:
    """Show the progress of several runs until all have ended, as ``follow_progress`` does.

    Args:
        runs: primary key of the runs.
        settings: settings of run 0.
        console: gets a live panel if it is a terminal, else a line for each generation, and each end, of a run.
    """
    from aiida_fuse2.query.status import runs_progress

    from .progress import follow_progress, generation_news
    from .tables import coloured

    generations = generation_news(settings)
    ended: set[int] = set()

    def news(reached: RunsProgress) -> Iterator[Text]:
        for run, search in enumerate(reached.searches):
            for line in generations(search):
                yield coloured(f"run {run}: ") + line
            if search.is_terminated and run not in ended:
                ended.add(run)
                yield coloured(f"run {run}: ") + short_state(search)

    return follow_progress(
        lambda: runs_progress(runs),
        console,
        show=lambda reached, problem: runs_panel(reached, settings, problem),
        news=news,
        stuck="the runs do not advance",
    )


def runs_panel(reached: RunsProgress, settings: SearchSettings, problem: str | None) -> Panel:
    """Return the panel of several runs.

    Args:
        reached: progress of the runs.
        settings: settings of run 0.
        problem: problem of the daemon that stops them, or None.
    """
    from rich.console import RenderableType

    from aiida_fuse2.query.status import duration_text

    from .progress import framed
    from .tables import coloured

    margins = 4
    now = reached.process_state if reached.is_terminated else reached.phase
    now += "; will stop after these generations" if reached.is_stopping and not reached.is_terminated else ""
    contents: list[RenderableType] = [f"{now}; {duration_text(reached.elapsed)}", ""]
    contents.append(runs_table(reached, settings, width=PANEL_WIDTH - margins))
    if len(reached.energies) > 1:
        spread = 1000 * (max(reached.energies) - min(reached.energies))
        contents += [
            "",
            coloured(
                "lowest of all ", (f"{min(reached.energies):.4f} eV/atom", "bold"), f", spread {spread:.1f} meV/atom"
            ),
        ]
    return framed(contents, reached, settings, problem, what="runs", width=PANEL_WIDTH)
