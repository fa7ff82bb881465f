"""The costs of relaxations."""

from __future__ import annotations

import plotly.graph_objects as go

from aiida_fuse2.report.data import ReportData

from .base import COLOURS, LOW, energy_range

HOURS_FROM = 7200
"""CPU time above which the unit is hours, s."""


def cpu(data: ReportData) -> go.Figure | None:
    """Return the histogram of the CPU times of relaxations."""
    if data.explored.empty:
        return None
    marker = {"color": COLOURS[0], "line": {"color": "#fff", "width": 1}}
    bars = go.Histogram(x=data.explored.cpu, marker=marker, hovertemplate="%{x} s: %{y}<extra></extra>")
    return go.Figure(bars).update_layout(
        height=LOW,
        xaxis={"title_text": "CPU time of a relaxation (s)", "rangemode": "tozero"},
        yaxis_title_text="Structures",
    )


def cost(data: ReportData) -> go.Figure | None:
    """Return the lowest energy against the CPU time until then."""
    tried = data.explored
    if tried.empty:
        return None
    unit, seconds = ("h", 3600) if tried.cpu_total.iloc[-1] > HOURS_FROM else ("s", 1)
    line = go.Scatter(
        mode="lines",
        x=tried.cpu_total / seconds,
        y=tried.lowest,
        line={"color": COLOURS[1], "width": 2.2, "shape": "hv"},
        hovertemplate="%{x:.2f}: %{y:.4f} eV/atom<extra></extra>",
    )
    return go.Figure(line).update_layout(
        height=LOW,
        xaxis={"title_text": f"CPU time of all relaxations ({unit})", "rangemode": "tozero"},
        yaxis={"title_text": "Lowest energy (eV/atom)", "range": energy_range(tried.lowest)},
    )
