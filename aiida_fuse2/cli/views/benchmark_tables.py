"""Tables of the benchmarks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .tables import counts_text, plain_table

if TYPE_CHECKING:
    from rich.table import Table

    from aiida_fuse2.benchmarks.csp_report import CspReport
    from aiida_fuse2.benchmarks.potential_report import CostFigures, OrderFigures
    from aiida_fuse2.benchmarks.relaxation_report import MethodFigures
    from aiida_fuse2.benchmarks.search_report import SearchReport
    from aiida_fuse2.benchmarks.statistics import Estimate

NOTHING = "-"


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)


def _estimate(estimate: Estimate | None, form: str) -> str:
    """Return a value with its interval: ``17.2 (15.0 to 19.9)``."""
    if estimate is None:
        return NOTHING
    if estimate.low is None or estimate.high is None:
        return format(estimate.value, form)
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"


def relaxations_table(figures: Sequence[MethodFigures], against: str) -> Table:
    """Return the results of methods: first for all their starts, then for those of each generator.

    Args:
        figures: result of ``compare_methods``.
        against: method that they were compared with.
    """
    table = plain_table(
        (
            ("method", False),
            ("starts", False),
            ("", True),
            ("structures per\nCPU-hour", True),
            (f"times {against}\n(95 % interval)", True),
            ("ΔE median\nmeV/atom (95 %)", True),
            ("lower/\nhigher", True),
            ("evaluations\nmean/most", True),
            ("CPU s", True),
            ("failures", False),
        )
    )
    method = None
    for f in figures:
        base = f.method == against
        table.add_row(
            f.method if f.method != method else "",
            f.generator,
            str(f.starts),
            f"{f.per_cpu_hour:.0f}",
            "1" if base else _estimate(f.ratio, ".1f"),
            NOTHING if base else _estimate(f.energy_difference, "+.1f"),
            NOTHING if base else f"{f.lower}/{f.higher}",
            f"{f.evaluations_mean:.0f}/{f.evaluations_max}",
            f"{f.cpu_seconds:.0f}",
            counts_text(f.failures),
        )
        method = f.method
    return table


def potentials_text(figures: Sequence[MethodFigures]) -> str:
    """Return which code computed each method, if the rows say so."""
    known = {f.method: ", ".join(f.potentials) for f in figures if f.potentials}
    return "; ".join(f"{method}: {names}" for method, names in known.items())


def searches_table(report: SearchReport) -> Table:
    """Return the results of searches, one row per composition and setting."""
    table = plain_table(
        (
            ("composition", False),
            ("atoms", True),
            ("setting", False),
            ("seeds", True),
            ("structures", True),
            ("best\neV/atom", True),
            ("space\ngroup", False),
            ("above target\nmeV/atom", True),
            ("median\nmeV/atom", True),
            ("at target\n(95 % interval)", True),
            ("CPU s to\ntarget", True),
            ("structures\nto target", True),
        )
    )
    place = None
    for f in report.figures:
        here = (f.composition, f.max_atoms)
        rate = (
            NOTHING if f.success is None else f"{f.successes}/{f.seeds} ({f.success.low:.2f} to {f.success.high:.2f})"
        )
        table.add_row(
            f.composition if here != place else "",
            str(f.max_atoms) if here != place else "",
            f.setting,
            str(f.seeds),
            f"{f.structures:.0f}",
            _number(f.best, ".4f"),
            f.spacegroup or NOTHING,
            _number(f.above_target, "+.1f"),
            _number(f.median_above_target, "+.1f"),
            rate,
            _number(f.seconds_to_target, ".0f"),
            _number(f.structures_to_target, ".0f"),
        )
        place = here
    return table


def success_table(report: SearchReport) -> Table:
    """Return the number of targets that each setting reached."""
    table = plain_table(
        (("setting", False), ("compositions at target", True), ("searches at target", True), ("rate (95 %)", True))
    )
    for s in report.settings:
        table.add_row(
            s.setting,
            f"{s.compositions_reached} of {s.compositions}",
            f"{s.successes} of {s.searches}",
            _estimate(s.success, ".2f"),
        )
    return table


def survival_table(report: SearchReport) -> Table:
    """Return the CPU time that settings need for the same targets."""
    table = plain_table(
        (
            ("composition", False),
            ("atoms", True),
            ("setting", False),
            ("at target", True),
            ("median CPU s\nto target (95 %)", True),
            ("times at target\nper CPU hour (95 %)", True),
            ("p, against\nthe first", True),
        )
    )
    place = None
    for f in report.survival:
        here = (f.composition, f.max_atoms)
        table.add_row(
            f.composition if here != place else "",
            _number(f.max_atoms, "d") if here != place else "",
            f.setting,
            f"{f.hits} of {f.searches}",
            _median(f.median),
            _estimate(f.rate, ".1f"),
            _number(f.p, ".2g"),
        )
        place = here
    return table


def _median(estimate: Estimate | None) -> str:
    """Return a median with its interval, whose upper end may be beyond what was measured: ``23 (13 or more)``."""
    if estimate is None or estimate.low is None or estimate.high is not None:
        return _estimate(estimate, ".0f")
    return f"{estimate.value:.0f} ({estimate.low:.0f} or more)"


def csp_table(report: CspReport) -> Table:
    """Return how many known space groups and structures each setting found, of all entries and by category."""
    from aiida_fuse2.benchmarks.csp_report import TOP

    has_structures = any(f.structures for f in report.figures)
    matched = (("structure,\nlowest", True), (f"structure,\nlowest {TOP}", True)) if has_structures else ()
    has_answers = any(f.distinct is not None for f in report.figures)
    finished = (("answer,\nCPU s", True), (f"phases in\nlowest {TOP}", True)) if has_answers else ()
    table = plain_table(
        (
            ("setting", False),
            ("category", False),
            ("entries", True),
            ("space group,\nlowest", True),
            (f"space group,\nlowest {TOP}", True),
            *matched,
            ("CPU s,\nmean", True),
            *finished,
            (f"causes of misses,\nlowest {TOP}", False),
        )
    )
    setting = None
    for f in report.figures:
        table.add_row(
            f.setting if f.setting != setting else "",
            f.category,
            str(f.entries),
            _percent(f.first),
            _percent(f.top),
            *((_percent(f.matched_first), _percent(f.matched_top)) if has_structures else ()),
            _number(f.cpu_seconds, ".1f"),
            *((_number(f.answer_seconds, ".1f"), _number(f.distinct, ".1f")) if has_answers else ()),
            counts_text({str(cause): number for cause, number in f.missed.items()}),
        )
        setting = f.setting
    return table


def _percent(estimate: Estimate | None) -> str:
    """Return a rate with its interval in percent: ``50 (12 to 88)``."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return NOTHING
    return f"{100 * estimate.value:.0f} ({100 * estimate.low:.0f} to {100 * estimate.high:.0f})"


def misses_table(report: CspReport) -> Table:
    """Return each search whose lowest structure is not of the known space group, with the causes."""
    from aiida_fuse2.benchmarks.csp_report import TOP

    table = plain_table(
        (
            ("setting", False),
            ("entry", False),
            ("composition", False),
            ("space\ngroup", True),
            ("lowest\nfound", True),
            ("type of the lowest", False),
            ("place", True),
            ("above lowest\nmeV/atom", True),
            ("cause,\nlowest", False),
            (f"cause,\nlowest {TOP}", False),
        )
    )
    setting = None
    for p in report.predictions:
        if p.missed_first is None:
            continue
        table.add_row(
            p.setting if p.setting != setting else "",
            p.key,
            p.composition,
            str(p.spacegroup),
            _number(p.lowest_spacegroup, "d"),
            p.lowest_type or NOTHING,
            _number(p.rank, "d"),
            _number(p.above, ".1f"),
            p.missed_first,
            p.missed or "",
        )
        setting = p.setting
    return table


def potential_text(potential: str, overrides: str) -> str:
    """Return the name of a potential, with the settings that win over the defaults."""
    changes = ", ".join(f"{key}={value}" for key, value in json.loads(overrides).items())
    return f"{potential} ({changes})" if changes else potential


def costs_table(figures: Sequence[CostFigures]) -> Table:
    """Return what each potential costs."""
    sizes = sorted({size for f in figures for size in f.seconds})
    table = plain_table(
        (
            ("potential", False),
            *((f"{size} atoms\nCPU ms", True) for size in sizes),
            ("relax-\nations", True),
            ("evaluations,\nmean", True),
            ("CPU s", True),
            ("known lowest,\nof compounds", True),
            ("failures", False),
        )
    )
    for f in figures:
        seconds = (f.seconds.get(size) for size in sizes)
        table.add_row(
            potential_text(f.potential, f.overrides),
            *(_number(None if s is None else 1000 * s, ".1f") for s in seconds),
            str(f.relaxations),
            _number(f.evaluations, ".0f"),
            f"{f.cpu_seconds:.1f}",
            f"{f.known_lowest} of {f.compounds}",
            counts_text(f.failures),
        )
    return table


def orders_table(figures: Sequence[OrderFigures]) -> Table:
    """Return the order of the polymorphs of each compound under each potential."""
    table = plain_table(
        (
            ("compound", False),
            ("stable", False),
            ("potential", False),
            ("place", True),
            ("above lowest\nmeV/atom", True),
            ("the others, meV/atom", False),
        )
    )
    for compound in dict.fromkeys(f.compound for f in figures):
        for n, f in enumerate(f for f in figures if f.compound == compound):
            others = [
                f"{name}{'*' if name in f.changed else ''} {_number(energy, '+.0f')}"
                for name, energy in f.energies.items()
                if name != f.known
            ]
            known = f.known + ("*" if f.known in f.changed else "")
            table.add_row(
                "" if n else compound + (" (?)" if f.doubt else ""),
                known,
                potential_text(f.potential, f.overrides),
                _number(f.place, "d"),
                _number(f.above, ".0f"),
                ", ".join(others),
            )
    return table
