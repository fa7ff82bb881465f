"""``aiida-fuse2 benchmark``."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.benchmarks.defaults import defaults
from aiida_fuse2.cli.params.options import BAD_INPUT, JSON, C, CommandError, echo, echo_json, set_option
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.views.tables import make_console
from aiida_fuse2.core.errors import one_line, printable

if TYPE_CHECKING:
    from aiida_fuse2.benchmarks.csp_entries import Entry
    from aiida_fuse2.benchmarks.csp_report import CspReport
    from aiida_fuse2.benchmarks.relaxation_report import MethodFigures
    from aiida_fuse2.benchmarks.relaxations import Starts
    from aiida_fuse2.benchmarks.results import RelaxationRow, SearchRow
    from aiida_fuse2.benchmarks.search_report import SearchReport
    from aiida_fuse2.benchmarks.searches import SearchTask

RELAX, SEARCH, CSP = defaults("relax"), defaults("search"), defaults("csp")

BOOTSTRAP_SEED = 1
"""The same rows give the same intervals."""

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


def _cpu_seconds(default: float) -> Callable[[C], C]:
    return click.option(
        "--cpu-seconds",
        type=click.FloatRange(min=0, min_open=True, max=1e7),
        default=default,
        show_default=True,
        metavar="S",
        help="CPU time of a search. It replaces the limits of structures, unless those are set.",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Report errors in one line, and suppress the warnings of the underlying packages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@cmd_root.group("benchmark")
def cmd_benchmark() -> None:
    """Measure relaxations and searches on this machine.

    Everything runs here, without profile, daemon or codes of AiiDA. Times are CPU seconds.
    """


# --- relax ----------------------------------------------------------------------------------------


@cmd_benchmark.command("relax")
@click.argument("methods", nargs=-1)
@OUT
@click.option(
    "--starts",
    "places",
    multiple=True,
    metavar="COMPOSITION:ATOMS",
    help="Random starts of this composition with at most so many atoms; can be repeated. Default: "
    + " ".join(f"{formula}:{atoms}" for formula, atoms in RELAX["starts"].items())
    + ".",
)
@click.option("--generators", default=",".join(RELAX["generators"]), show_default=True, metavar="NAMES")
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=RELAX["count"],
    show_default=True,
    metavar="N",
    help="Starts of each composition and generator.",
)
@click.option("--seed", type=int, default=RELAX["seed"], show_default=True, metavar="N", help="Seed of the starts.")
@click.option(
    "--against",
    metavar="METHOD",
    help=f"Method that the table compares with.  [default: {RELAX['against']} where the file has it]",
)
@TABLE
@PLOT
@JSON
def cmd_relax(
    *,
    methods: tuple[str, ...],
    out: Path,
    places: tuple[str, ...],
    generators: str,
    count: int,
    seed: int,
    against: str | None,
    only_table: bool,
    plot_path: Path | None,
    as_json: bool,
) -> None:
    """Compare METHODS of relaxation with the reference recipe on the same random starts.

    A method is [CODE/]OPTIMISER[+symmetry]. CODE computes CHGNet 0.3.0: native (the default), avx512,
    avx2, baseline, torch or stock; the optimiser is JointLBFGS, reference (the three stages of the paper), an optimiser
    of ASE by its name in the settings, or CellAwareBFGS. JointLBFGS+symmetry keeps the symmetry of the start.
    Without METHODS: stock/reference and JointLBFGS.

    The table gives structures per CPU-hour, how many times more they are than those of the method compared with (95 %
    interval: bootstrap over the starts that both have), the median difference of the final energies, and failures.
    """
    with _quiet():
        from aiida_fuse2.benchmarks.relaxations import Method, run_relaxations
        from aiida_fuse2.benchmarks.results import RelaxationRow, ResultsFile

        chosen = [Method.parse(name) for name in dict.fromkeys(methods or RELAX["methods"])]
        sets = _starts(places or [f"{f}:{n}" for f, n in RELAX["starts"].items()], generators, seed, count)
        file = ResultsFile(out, RelaxationRow)
        if only_table or plot_path is not None:
            _require_rows(file.rows, out)
        else:
            file.check_writable()
            with redirect_stdout(sys.stderr):  # chgnet prints
                for news in run_relaxations(chosen, sets, file):
                    echo(news if isinstance(news, str) else _relaxation_news(news), err=True)
        _report_relaxations(file.rows, against, plot_path, show=only_table or plot_path is None, as_json=as_json)


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _place(text: str) -> tuple[str, int | None]:
    """Return formula and largest number of atoms, and report if the formula was divided."""
    from aiida_fuse2.benchmarks.searches import parse_place

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        place = parse_place(text)
    for warning in said:
        echo(f"Warning: {one_line(warning.message)}", err=True)
    return place


def _starts(places: Sequence[str], generators: str, seed: int, count: int) -> list[Starts]:
    """Return the sets of starts that options ask for."""
    from aiida_fuse2.benchmarks.relaxations import Starts
    from aiida_fuse2.core.errors import InputError
    from aiida_fuse2.core.generators import single_generator

    if not _names(generators):
        raise InputError("--generators", generators, "must be names of generators, e.g. fgen,symmetric")
    for name in _names(generators):
        single_generator(name, where="--generators")
    sets = []
    for place in places:
        formula, atoms = _place(place)
        if atoms is None:
            raise InputError("--starts", place, "must be COMPOSITION:ATOMS, e.g. SrTiO3:20")
        sets += [Starts(formula, atoms, generator, seed, count) for generator in _names(generators)]
    for chosen in sets:
        chosen.check()
    return sets


def _require_rows(rows: Sequence[Any], path: Path) -> None:
    if not rows:
        raise CommandError(f"there are no results in {printable(path)}", BAD_INPUT)


def _relaxation_news(row: RelaxationRow) -> str:
    energy = "" if row.energy is None else f", {row.energy:.4f} eV/atom"
    return (
        f"{row.composition} {row.generator} {row.start} {row.method}: {row.status}{energy}, "
        f"{row.evaluations} evaluations, {row.cpu_seconds:.2f} CPU s"
    )


def _report_relaxations(
    rows: Sequence[RelaxationRow], against: str | None, plot_path: Path | None, *, show: bool, as_json: bool
) -> None:
    """Print the table of rows, draw them, or both."""
    import numpy as np

    from aiida_fuse2.benchmarks.relaxation_report import compare_methods

    if not rows:
        return
    present = {row.method for row in rows}
    base = against or (RELAX["against"] if RELAX["against"] in present else rows[0].method)
    figures = compare_methods(rows, base, np.random.default_rng(BOOTSTRAP_SEED))
    if plot_path is not None:
        from aiida_fuse2.benchmarks.plots import check_format, plot_relaxations, save

        check_format(plot_path)
        save(plot_relaxations(figures, base), plot_path)
    if show and as_json:
        echo_json([_plain_method(f) for f in figures])
    elif show:
        _print_relaxations(figures, base)


def _plain_method(figures: MethodFigures) -> dict[str, Any]:
    values = dataclasses.asdict(figures) | {"lower": figures.lower, "higher": figures.higher}
    del values["energy_differences"]
    return values


def _print_relaxations(figures: Sequence[MethodFigures], against: str) -> None:
    from aiida_fuse2.cli.views.benchmark_tables import potentials_text, relaxations_table

    console = make_console()
    console.print(relaxations_table(figures, against))
    text = potentials_text(figures)
    if text:
        console.print(f"\nComputed by: {text}")


# --- search ---------------------------------------------------------------------------------------


@cmd_benchmark.command("search")
@click.argument("compositions", nargs=-1, metavar="[COMPOSITION[:ATOMS]]...")
@OUT
@click.option("--seeds", default=SEARCH["seeds"], show_default=True, metavar="SEEDS", help="Such as 1-3,7.")
@click.option(
    "--generators",
    default=",".join(SEARCH["generators"]),
    show_default=True,
    metavar="NAMES",
    help="Generators of the starting structures; a search for each. Several together: prototypes=0.5+fgen=0.5.",
)
@click.option("--protocol", default=SEARCH["protocol"], show_default=True, metavar="NAME")
@set_option("settings.acceptance.temperature=0.05")
@click.option(
    "--vary",
    "varied",
    multiple=True,
    metavar="KEY=[VALUES]",
    help="Compare values of an input, e.g. settings.walkers=[4,8]; can be repeated: all combinations.",
)
@_cpu_seconds(SEARCH["cpu_seconds"])
@PROTOTYPES
@click.option(
    "--targets",
    "targets_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="YAML file with 'targets: {SrTiO3: -8.4236}', eV/atom. By default those of the paper under CHGNet 0.3.0.",
)
@PROCESSES
@TABLE
@PLOT
@JSON
def cmd_search(
    *,
    compositions: tuple[str, ...],
    out: Path,
    only_table: bool,
    plot_path: Path | None,
    targets_path: Path | None,
    processes: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure what searches for COMPOSITIONS find in a given CPU time.

    A composition can include the largest number of atoms of a structure: SrTiO3:20; else the protocol decides. Default:
    the eleven of the paper, and SrTiO3. There is a search for each composition, generator, seed and combination of
    settings.

    A search is at its target when it is at most 1 meV/atom above it. The table gives the lowest energies against the
    targets, CPU time and structures to the target (median of the searches that reached it) and the rate of searches
    that did (exact 95 % interval). The plot shows energies against CPU time.

    With --table or --plot, COMPOSITIONS and --targets select what is shown; the other options have no effect.
    """
    with _quiet():
        from aiida_fuse2.benchmarks.defaults import read_targets
        from aiida_fuse2.benchmarks.results import ResultsFile, SearchRow

        targets = None if targets_path is None else read_targets(targets_path)
        file = ResultsFile(out, SearchRow)
        failed = 0
        if only_table or plot_path is not None:
            _require_rows(file.rows, out)
        else:
            file.check_writable()
            tasks = _tasks(compositions or tuple(SEARCH["compositions"]), targets or read_targets(), options)
            with redirect_stdout(sys.stderr):  # chgnet prints
                failed = _run(tasks, file, processes)
        rows = _chosen(file.rows, compositions)
        if rows:
            target_of = _target_of(targets)
            _report_searches(rows, target_of, plot_path, show=only_table or plot_path is None, as_json=as_json)
        if failed:
            raise CommandError(f"{failed} of the searches failed; the others are in {printable(out)}")


def _target_of(targets: Any) -> Any:
    """Return the function that gives the target of a row: of the user's targets, or those of the searches."""
    from aiida_fuse2.benchmarks.search_report import own_target

    return own_target if targets is None else lambda row: targets.of(row.composition)


def _tasks(compositions: Sequence[str], targets: Any, options: dict[str, Any]) -> list[SearchTask]:
    """Return the searches that options ask for, each checked."""
    from aiida_fuse2.benchmarks import searches
    from aiida_fuse2.core.errors import InputError
    from aiida_fuse2.launch.overrides import merge_all, parse_assignment

    fixed = merge_all(*(parse_assignment(text) for text in options["assignments"]))
    combinations = searches.expand([parse_assignment(text) for text in options["varied"]])
    generators = _names(options["generators"])
    if not generators:
        raise InputError("--generators", options["generators"], "must be names of generators, e.g. fgen,symmetric")
    seeds = searches.parse_numbers(options["seeds"])
    tasks = []
    for formula, atoms in dict.fromkeys(_place(text) for text in compositions):
        for seed in seeds:
            for generator in generators:
                for changes in combinations:
                    task = searches.SearchTask(
                        composition=formula,
                        max_atoms=atoms,
                        generator=generator,
                        seed=seed,
                        protocol=options["protocol"],
                        overrides=merge_all(fixed, changes),
                        budget=options["cpu_seconds"],
                        prototypes=options["prototypes"],
                    )
                    settings, tier = task.settings()
                    tasks.append(dataclasses.replace(task, target=searches.target_of(settings, tier, targets)))
    return tasks


def _run(tasks: Sequence[SearchTask], file: Any, processes: int) -> int:
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


def _search_news(row: SearchRow) -> str:
    best = "nothing found" if row.best is None else f"{row.best.energy:.4f} eV/atom"
    if row.best is not None and row.target is not None:
        best += f" ({1000 * (row.best.energy - row.target):+.1f} meV/atom to the target)"
    return (
        f"{row.composition} {row.generator} seed {row.seed}: {best}, {row.structures} structures, "
        f"{row.cpu_seconds:.0f} CPU s"
    )


def _chosen(rows: Sequence[SearchRow], compositions: Sequence[str]) -> list[SearchRow]:
    """Return the rows of compositions; all rows if none is named."""
    from aiida_fuse2.benchmarks.searches import parse_place

    places = [parse_place(text) for text in compositions]
    if not places:
        return list(rows)
    return [r for r in rows if any(r.composition == f and n in {None, r.max_atoms} for f, n in places)]


def _report_searches(
    rows: Sequence[SearchRow], target_of: Any, plot_path: Path | None, *, show: bool, as_json: bool
) -> None:
    """Print the table of rows, draw them, or both."""
    from aiida_fuse2.benchmarks.search_report import report_searches

    report = report_searches(rows, target_of)
    if plot_path is not None:
        from aiida_fuse2.benchmarks.plots import check_format, plot_searches, save

        check_format(plot_path)
        save(plot_searches(report, target_of), plot_path)
    if show and as_json:
        echo_json(
            {
                "searches": [dataclasses.asdict(f) for f in report.figures],
                "settings": [dataclasses.asdict(s) for s in report.settings],
            }
        )
    elif show:
        _print_searches(report)


def _print_searches(report: SearchReport) -> None:
    from aiida_fuse2.cli.views.benchmark_tables import searches_table, success_table

    console = make_console()
    console.print(searches_table(report))
    if report.settings:
        console.print()
        console.print(success_table(report))
        names = ", ".join(report.reached) or "none"
        console.print(f"\nAt target with the better setting: {len(report.reached)} of {report.compositions} ({names})")


# --- csp ------------------------------------------------------------------------------------------


@cmd_benchmark.command("csp")
@click.argument("entries_path", type=click.Path(path_type=Path), metavar="ENTRIES")
@OUT
@click.option(
    "--starts",
    default=CSP["starts"],
    show_default=True,
    metavar="NAMES",
    help="Generators of the starting structures, with their shares if there are several.",
)
@click.option(
    "--leave-out",
    type=click.Choice(["none", "compound", "type"]),
    default="none",
    show_default=True,
    help="Prototypes that are not used: those of the composition itself, or all of their types, too.",
)
@PROTOTYPES
@click.option(
    "--max-atoms",
    type=click.IntRange(1),
    default=CSP["max_atoms"],
    show_default=True,
    metavar="N",
    help="Most atoms of a structure; at least one formula unit.",
)
@click.option("--seed", type=click.IntRange(0), default=CSP["seed"], show_default=True, metavar="N")
@click.option("--protocol", default=CSP["protocol"], show_default=True, metavar="NAME")
@set_option("settings.pool.size=64")
@_cpu_seconds(CSP["cpu_seconds"])
@click.option(
    "--structures",
    "structures_path",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Known structures, in files named by the identifier or the formula of their entry.",
)
@PROCESSES
@TABLE
@JSON
def cmd_csp(
    *,
    entries_path: Path,
    out: Path,
    structures_path: Path | None,
    processes: int,
    only_table: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure how often a search finds the known space group of a composition in a given CPU time.

    ENTRIES is a CSV file with the columns material_id, pretty_formula, nsites (atoms of the known primitive cell),
    spacegroup and category, such as those of CSPBench. There is one search for each composition.

    A hit is the known space group (tolerance 0.1 Å) of the lowest, or one of the lowest five, different structures.
    With --structures, the table has matches with the known structures as well (StructureMatcher of pymatgen). Entries
    whose known cell has more than --max-atoms atoms are misses, and are not searched. Rates have exact 95 % intervals.

    Each miss has a cause: the limit of atoms; the potential (the space group was found, at a higher energy); the
    library (no prototype of this space group); or the search (none of these).

    With --table, ENTRIES, --structures, --max-atoms and --seed select what is shown; the other options have no effect.
    """
    with _quiet():
        from aiida_fuse2.benchmarks.csp_entries import known_structures, read_entries
        from aiida_fuse2.benchmarks.csp_report import report_csp
        from aiida_fuse2.benchmarks.results import ResultsFile, SearchRow

        entries = read_entries(entries_path)
        structures = {} if structures_path is None else known_structures(structures_path, entries)
        file = ResultsFile(out, SearchRow)
        failed = 0
        if not only_table:
            file.check_writable()
            tasks = _csp_tasks(entries, options)
            with redirect_stdout(sys.stderr):  # chgnet prints
                failed = _run(tasks, file, processes)
        report = report_csp(
            file.rows, entries, max_atoms=options["max_atoms"], seed=options["seed"], structures=structures
        )
        if only_table:
            _require_rows(report.predictions, out)
        _report_csp(report, as_json=as_json)
        if failed:
            raise CommandError(f"{failed} of the searches failed; the others are in {printable(out)}")


def _csp_tasks(entries: Sequence[Entry], options: dict[str, Any]) -> list[SearchTask]:
    """Return the searches for all entries within the limit of atoms, each checked."""
    from aiida_fuse2.benchmarks.csp_report import SYMPREC
    from aiida_fuse2.benchmarks.libraries import needs_library
    from aiida_fuse2.benchmarks.searches import SearchTask
    from aiida_fuse2.core.errors import InputError
    from aiida_fuse2.launch.overrides import merge_all, parse_assignment

    left_out = options["leave_out"]
    own = {"settings": {"prototypes": {"leave_out": left_out}}} if left_out != "none" else {}
    overrides = merge_all(*(parse_assignment(text) for text in options["assignments"]), own)
    tasks = []
    for entry in entries:
        limit = entry.limit(options["max_atoms"])
        if entry.atoms > limit:
            continue
        task = SearchTask(
            composition=entry.unit.formula,
            max_atoms=limit,
            generator=options["starts"].replace(",", "+"),
            seed=options["seed"],
            protocol=options["protocol"],
            overrides=overrides,
            budget=options["cpu_seconds"],
            prototypes=options["prototypes"],
        )
        settings, tier = task.settings()
        if left_out != "none" and not needs_library(settings.starts):
            raise InputError("--leave-out", left_out, "needs starts from prototypes")
        if tier.report_symprec[1] != SYMPREC:
            expected = f"the second must be {SYMPREC:g}, the tolerance of the known space groups"
            raise InputError("relax.settings.report_symprec", tier.report_symprec, expected)
        tasks.append(task)
    return tasks


def _report_csp(report: CspReport, *, as_json: bool) -> None:
    """Print the tables of predictions."""
    from aiida_fuse2.cli.views.benchmark_tables import csp_table, misses_table

    if as_json:
        echo_json(
            {
                "figures": [dataclasses.asdict(f) for f in report.figures],
                "predictions": [dataclasses.asdict(p) for p in report.predictions],
                "entries": report.entries,
                "potentials": list(report.potentials),
            }
        )
        return
    console = make_console()
    console.print(csp_table(report))
    if any(p.missed_first is not None for p in report.predictions):
        console.print()
        console.print(misses_table(report))
    console.print(
        f"\nRates in % with 95 % intervals, of {report.entries} entries. Potential: {', '.join(report.potentials)}"
    )
