"""The histories of the walkers."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.colors import find_intermediate_color

from aiida_fuse2.report.data import ReportData, best_path, move_name, walk

from .base import COLOURS, ENERGY, GREY, LOW, energy_range, lowest, padded, text

MAX_NAMED = 8
"""Largest number of walkers that are named in the legend."""


def walkers(data: ReportData) -> go.Figure | None:
    """Return energy and temperature of each walker, one colour from blue to orange for each."""
    if not any(trace.tried for trace in data.walkers):
        return None
    figure = go.Figure()
    for index, trace in enumerate(data.walkers):
        place, name = index / max(1, len(data.walkers) - 1), f"walker {index}"
        colour = find_intermediate_color((31, 95, 168), (209, 96, 43), place)
        shared = {
            "mode": "lines",
            "name": name,
            "legendgroup": name,
            "x": trace.tried,
            "line": {"color": "rgb({:.0f},{:.0f},{:.0f})".format(*colour), "width": 1.6, "shape": "hv"},
        }
        figure.add_scatter(y=trace.energy, hovertemplate=f"{name}: %{{y:.4f}} eV/atom<extra></extra>", **shared)
        hover = f"{name}: T = %{{y:.4f}} eV/atom<extra></extra>"
        figure.add_scatter(y=trace.temperature, yaxis="y2", showlegend=False, hovertemplate=hover, **shared)
    energies = [energy for trace in data.walkers for energy in trace.energy if energy is not None]
    return figure.update_layout(
        showlegend=len(data.walkers) <= MAX_NAMED,
        xaxis={"title_text": "Structure number", "anchor": "y2"},
        yaxis={"title_text": ENERGY, "domain": [0.42, 1], "range": energy_range(energies, 0.97) if energies else None},
        yaxis2={"title_text": "T (eV/atom)", "domain": [0, 0.3], "rangemode": "tozero"},
        meta={"narrow": {"showlegend": False, "yaxis.title.text": "E (eV/atom)"}},
    )


def path(data: ReportData) -> go.Figure | None:
    """Return the steps of the walker that found the best structure (paper, Fig. 7)."""
    ends = best_path(data)
    if ends is None:
        return None
    start, best = ends
    steps = walk(data.rows, best["walker"])
    energies = [row["energy"] for row in (start, best, *steps)]
    figure = go.Figure(lowest(data.explored, GREY))
    figure.add_scatter(
        mode="lines+markers",
        name=f"walker {text(best['walker'])}",
        x=[row["number"] for row in steps],
        y=[row["energy"] for row in steps],
        text=[text(move_name(row)) for row in steps],
        line={"color": COLOURS[0], "width": 1.6, "shape": "hv"},
        marker_size=5,
        hovertemplate="%{x}: %{y:.4f} eV/atom<br>%{text}<extra></extra>",
    )
    for row, name, colour, symbol in ((start, "best start", COLOURS[4], "diamond"), (best, "best", COLOURS[1], "star")):
        figure.add_scatter(
            mode="markers",
            name=name,
            x=[row["number"]],
            y=[row["energy"]],
            marker={"color": colour, "size": 12, "symbol": symbol, "line": {"color": "#fff", "width": 1.5}},
            hovertemplate=f"{name}: %{{y:.4f}} eV/atom<extra></extra>",
        )
    return figure.update_layout(
        height=LOW,
        xaxis_title_text="Structure number",
        yaxis={"title_text": ENERGY, "range": padded(min(energies), max(energies), 0.08)},
    )
