"""The group ``aiida-fuse2 benchmark``, and what its commands share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.cli.params.options import BAD_INPUT, C, CommandError, echo
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.core.errors import one_line, printable

if TYPE_CHECKING:
    from aiida_fuse2.benchmarks.results import SearchRow
    from aiida_fuse2.benchmarks.searches import SearchTask

OUT = click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="File of results: a line of JSON is added for each; measurements that are already in it are not repeated.",
)
TABLE = click.option("--table", "only_table", is_flag=True, help="Measure nothing: print the table of FILE.")
PLOT = click.option(
    "--plot",
    "plot_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Measure nothing: draw what is in the file of results to FILE (png, pdf, svg).",
)
PROCESSES = click.option(
    "--processes",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    metavar="N",
    help="Searches side by side, each with one thread.",
)
PROTOTYPES = click.option(
    "--prototypes",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Library of prototypes, as extended XYZ.  [default: the packaged one]",
)


def cpu_seconds(default: float) -> Callable[[C], C]:
    """Return the option for the CPU time of each search, s."""
    return click.option(
        "--cpu-seconds",
        type=click.FloatRange(min=0, min_open=True, max=1e7),
        default=default,
        show_default=True,
        metavar="S",
        help="CPU time of a search. It replaces the limits of structures, unless those are set.",
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Report errors in one line, and suppress the warnings of the underlying packages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@cmd_root.group("benchmark")
def cmd_benchmark() -> None:
    """Measure relaxations and searches on this machine.

    Everything runs here, without profile, daemon or codes of AiiDA. Times are CPU seconds.
    """


def split_names(text: str) -> list[str]:
    """Return different names that are separated by commas."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def read_place(text: str) -> tuple[str, int | None]:
    """Return formula and largest number of atoms, and report if the formula was divided."""
    from aiida_fuse2.benchmarks.arguments import parse_place

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        place = parse_place(text)
    for warning in said:
        echo(f"Warning: {one_line(warning.message)}", err=True)
    return place


def require_rows(rows: Sequence[Any], path: Path) -> None:
    """Check that there are results.

    Raises:
        CommandError: if there are none.
    """
    if not rows:
        raise CommandError(f"there are no results in {printable(path)}", BAD_INPUT)


def run_searches(tasks: Sequence[SearchTask], file: Any, processes: int) -> int:
    """Run the searches that are not in the results yet; return how many failed."""
    from aiida_fuse2.benchmarks.searches import row_key, run_tasks
    from aiida_fuse2.core.errors import InputError

    done = {row_key(row) for row in file.rows}
    missing = list({task.key: task for task in tasks if task.key not in done}.values())
    failed = 0
    for task, outcome in run_tasks(missing, processes):
        if isinstance(outcome, InputError):
            raise outcome
        if isinstance(outcome, Exception):
            failed += 1
            text = one_line(f"{type(outcome).__name__}: {outcome}")
            echo(f"{task.composition} {task.generator} seed {task.seed}: failed, {text}", err=True)
            continue
        file.append(outcome)
        echo(_search_news(outcome), err=True)
    return failed


def add_answers(tasks: Sequence[SearchTask], file: Any) -> None:
    """Finish the structures of searches that are in the results without an answer, or its order that is asked for."""
    from aiida_fuse2.benchmarks.searches import lacks_second, row_key, with_answer

    rows = {row_key(row): row for row in file.rows}
    for task in {task.key: task for task in tasks}.values():
        row = rows.get(task.key)
        if row is None or not (row.lowest or not row.explored):  # rows of earlier versions hold no structures
            continue
        if row.answer is None or lacks_second(row, task):
            file.append(with_answer(row, task))
            echo(f"{row.composition} {row.generator} seed {row.seed}: finished", err=True)


def _search_news(row: SearchRow) -> str:
    best = "nothing found" if row.best is None else f"{row.best.energy:.4f} eV/atom"
    if row.best is not None and row.target is not None:
        best += f" ({1000 * (row.best.energy - row.target):+.1f} meV/atom to the target)"
    return (
        f"{row.composition} {row.generator} seed {row.seed}: {best}, {row.structures} structures, "
        f"{row.cpu_seconds:.0f} CPU s"
    )
