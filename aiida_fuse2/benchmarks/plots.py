"""Plots of the benchmarks."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aiida_fuse2.core.errors import InputError, printable

from .course import TARGET_TOLERANCE, reached_at
from .relaxation_report import ALL, MethodFigures
from .results import Improvement, ResultsError, SearchRow
from .search_report import SearchReport, TargetOf, best_within
from .statistics import success_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that colour-blind readers can distinguish (Wong, Nat. Methods 2011, 8, 441)."""

DPI = 150
PANEL_WIDTH, PANEL_HEIGHT = 4.0, 3.0
"""Size of the panel of one composition, inches."""

COLUMNS = 4
GRID_POINTS = 400

ROOM = 15.0
"""Factor by which a logarithmic axis extends beyond the data, for their labels."""

SAME_BASIN = 10.0
"""The axis of energy differences is linear up to this value, meV/atom."""

SHORTEST = 0.01
"""Earliest beginning of an axis of times, s: the digits of times in the results."""

BAND = 0.2
"""Opacity of the band between the lowest and the highest search, or the ends of an interval."""


def check_format(path: Path) -> None:
    """Refuse a name whose ending is no picture format, or a folder that does not exist.

    Raises:
        InputError: in these cases.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    known = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.lower().removeprefix(".") not in known:
        raise InputError("--plot", str(path), f"must end in one of .{', .'.join(known)}")
    if not path.absolute().parent.is_dir():
        raise InputError("--plot", str(path), "there is no such folder")


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a file.

    Raises:
        ResultsError: if it cannot be written.
    """
    try:
        figure.savefig(path, dpi=DPI)
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror or error}") from error


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _plain(name: str) -> str:
    """Return a name as a text of Matplotlib, which reads text between two ``$`` as mathematics."""
    return printable(name).replace("$", r"\$")


# --- relaxations ----------------------------------------------------------------------------------


def plot_relaxations(figures: Sequence[MethodFigures], against: str) -> Figure:
    """Return a figure with the structures per CPU-hour of each method, and its energy differences to another.

    Args:
        figures: result of ``compare_methods``.
        against: method that they were compared with.
    """
    from matplotlib.ticker import SymmetricalLogLocator

    methods = list(dict.fromkeys(f.method for f in figures))
    kinds = sorted({f.generator for f in figures if f.generator != ALL}) or [ALL]
    figure = _figure(11.0, 1.8 + 0.6 * len(methods))
    rates, energies = figure.subplots(1, 2)
    height = 0.8 / len(kinds)
    for k, kind in enumerate(kinds):
        shift = height * (k - (len(kinds) - 1) / 2)
        own = {methods.index(f.method) + shift: f for f in figures if f.generator == kind}
        _plot_rates(
            rates, own, height, colour=COLOURS[k % len(COLOURS)], label=f"{_plain(kind)} starts", against=against
        )
        _plot_differences(energies, own, height, colour=COLOURS[k % len(COLOURS)])
    known = [f.per_cpu_hour for f in figures if f.per_cpu_hour] or [1.0]
    rates.set_xscale("log")
    rates.set_xlim(min(known) / 2, max(known) * ROOM)
    rates.set_xlabel("structures per CPU-hour")
    energies.axvline(0, color="0.5", linewidth=0.8)
    energies.set_xscale("symlog", linthresh=SAME_BASIN)
    energies.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=SAME_BASIN))
    energies.set_xlabel(f"energy minus that of {_plain(against)}, meV/atom\n(line: median)")
    for panel, names in ((rates, list(map(_plain, methods))), (energies, [""] * len(methods))):
        panel.set_yticks(range(len(methods)), names)
        panel.set_ylim(len(methods) - 0.5, -0.5)
    figure.legend(*rates.get_legend_handles_labels(), loc="outside upper center", ncols=len(kinds), fontsize=8)
    return figure


def _plot_rates(
    axes: Axes, figures: Mapping[float, MethodFigures], height: float, *, colour: str, label: str, against: str
) -> None:
    """Draw a bar for each method at its position, with the rate and its ratio to the method compared with."""
    axes.barh(list(figures), [f.per_cpu_hour for f in figures.values()], height, color=colour, label=label)
    for place, f in figures.items():
        times = f"  ({f.ratio.value:.1f}×)" if f.ratio is not None and f.method != against else ""
        axes.text(f.per_cpu_hour, place, f" {f.per_cpu_hour:.0f}{times}", va="center", fontsize=8, clip_on=True)


def _plot_differences(axes: Axes, figures: Mapping[float, MethodFigures], height: float, *, colour: str) -> None:
    """Draw a point for the energy difference of each start, and a line for their median."""
    for place, f in figures.items():
        ordered = sorted(f.energy_differences)
        if f.energy_difference is None or not any(ordered):
            continue  # the method compared with itself
        spread = np.linspace(-0.3, 0.3, len(ordered)) * height
        axes.plot(ordered, place + spread, "o", markersize=3, alpha=0.6, color=colour)
        axes.plot([f.energy_difference.value] * 2, [place - height / 2, place + height / 2], color="black", linewidth=2)


# --- searches -------------------------------------------------------------------------------------


def plot_searches(report: SearchReport, target_of: TargetOf) -> Figure:
    """Return a figure with a panel of energies against CPU time per composition, and one of the success rates.

    The curve of a setting is the median of its searches, the band around it reaches from the lowest to the highest.

    Args:
        report: result of ``report_searches``.
        target_of: function that returns the target of a search.
    """
    labels = list(dict.fromkeys(label for by_label in report.rows.values() for label in by_label))
    colours = {label: COLOURS[k % len(COLOURS)] for k, label in enumerate(labels)}
    n_panels = len(report.rows) + bool(report.compositions)
    columns = min(COLUMNS, n_panels)
    lines = math.ceil(n_panels / columns)
    figure = _figure(max(PANEL_WIDTH * columns, 5.0), PANEL_HEIGHT * lines + 0.4)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, (place, by_label) in zip(panels, report.rows.items(), strict=False):
        _plot_energies(panel, by_label, colours, target_of)
        formula = re.sub(r"([\d.]+)", r"$_{\1}$", _plain(place[0]))
        panel.set_title(f"{formula}, at most {place[1]} atoms", fontsize=9)
    if report.compositions:
        _plot_success(panels[len(report.rows)], report, colours, target_of)
    for panel in panels[n_panels:]:
        panel.set_visible(False)
    handles, names = panels[0].get_legend_handles_labels()
    for panel in panels[1:n_panels]:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            if name not in names:
                handles.append(handle)
                names.append(name)
    figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 4), fontsize=9)
    return figure


def _times(rows: Sequence[SearchRow]) -> NDArray[np.float64]:
    """Return CPU times for a curve, s: logarithmic, from the first structure to the budget; shape (n,)."""
    last = max(row.budget for row in rows)
    first = min((row.course[0].cpu_seconds for row in rows if row.course), default=last / 10)
    return np.geomspace(min(max(first, SHORTEST), last / 2), last, GRID_POINTS)


def _energies_at(course: Sequence[Improvement], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lowest energy known at each time, eV/atom; infinite before the first."""
    known = np.array([math.inf, *(i.energy for i in course)])
    found: NDArray[np.float64] = known[np.searchsorted([i.cpu_seconds for i in course], times, side="right")]
    return found


def _plot_energies(
    axes: Axes, by_label: Mapping[str, Sequence[SearchRow]], colours: Mapping[str, str], target_of: TargetOf
) -> None:
    rows = [row for found in by_label.values() for row in found]
    target = target_of(rows[0])
    lowest = min((best.energy for row in rows if (best := best_within(row)) is not None), default=0.0)
    zero = lowest if target is None else target
    for label, found in by_label.items():
        times = _times(found)
        curves = 1000 * (np.array([_energies_at(row.course, times) for row in found]) - zero)
        middle = np.median(curves, axis=0)
        known = np.isfinite(middle)
        axes.plot(times[known], middle[known], color=colours[label], label=_plain(label), drawstyle="steps-post")
        both = np.isfinite(curves).all(axis=0)
        if len(found) > 1:
            low, high = curves.min(axis=0), curves.max(axis=0)
            axes.fill_between(
                times[both], low[both], high[both], color=colours[label], alpha=BAND, linewidth=0, step="post"
            )
    if all(best_within(row) is None for row in rows):
        axes.text(0.5, 0.5, "nothing found", transform=axes.transAxes, ha="center", fontsize=9)
    axes.axhline(0, color="0.4", linewidth=0.8, linestyle="--")
    _use_time_axis(axes)
    axes.set_xlim(_times(rows)[0] / 1.1, _times(rows)[-1] * 1.1)
    axes.set_yscale("symlog", linthresh=1000 * TARGET_TOLERANCE)
    axes.set_ylabel("meV/atom above " + ("the lowest" if target is None else "target"), fontsize=8)
    axes.tick_params(labelsize=8)


def _use_time_axis(axes: Axes) -> None:
    """Give a panel a logarithmic axis of CPU time, with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("CPU time, s", fontsize=8)


def _plot_success(axes: Axes, report: SearchReport, colours: Mapping[str, str], target_of: TargetOf) -> None:
    """Draw the fraction of all searches that had reached their targets against time, with 95 % intervals."""
    for label, colour in colours.items():
        rows = [row for by in report.rows.values() for row in by.get(label, ()) if target_of(row) is not None]
        if not rows:
            continue
        times = _times(rows)
        hits = [hit for row in rows if (hit := reached_at(row.course, target_of(row), row.budget)) is not None]
        counts = [sum(hit.cpu_seconds <= t for hit in hits) for t in times]
        rates = {k: success_rate(k, len(rows)) for k in set(counts)}
        axes.plot(times, [rates[k].value for k in counts], color=colour, label=_plain(label), drawstyle="steps-post")
        low, high = ([getattr(rates[k], end) for k in counts] for end in ("low", "high"))
        axes.fill_between(times, low, high, color=colour, alpha=BAND / 2, linewidth=0, step="post")
    _use_time_axis(axes)
    axes.set_ylim(-0.02, 1.02)
    axes.set_title("searches at their target (band: 95 % interval)", fontsize=9)
    axes.set_ylabel("part of all searches", fontsize=8)
    axes.tick_params(labelsize=8)
