"""Powder patterns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from aiida_fuse2.report.data import ReportData

from .base import COLOURS, LOW, group, text

STEP = 110
"""Distance between the zeros of two patterns; the highest line of each is 100."""

MIN_NAMED = 15
"""Lowest intensity of a reflection whose indices are written."""

APART, APART_NARROW = 4.5, 12
"""Least distance of two reflections whose indices are written, on wide and on narrow pages, degrees."""


def diffraction(data: ReportData) -> go.Figure | None:
    """Return the patterns one above the other, with the reflections of the first."""
    if not data.patterns:
        return None
    base = STEP * (len(data.patterns) - 1)
    figure = go.Figure()
    for index, pattern in enumerate(data.patterns):
        figure.add_scatter(
            mode="lines",
            name=group(pattern.name),
            x=pattern.two_theta.round(3),
            y=(pattern.intensity + base - STEP * index).round(2),
            line={"color": COLOURS[index % len(COLOURS)], "width": 1.4},
            hovertemplate="%{x:.2f}°<extra></extra>",
        )
    peaks = data.patterns[0].peaks
    figure.add_scatter(
        mode="markers",
        showlegend=False,
        x=[x for x, _, _ in peaks],
        y=[base - 5 for _ in peaks],
        text=[f"({text(hkl)})" for _, _, hkl in peaks],
        marker={"symbol": "line-ns-open", "size": 7, "color": COLOURS[0]},
        hovertemplate="%{text} %{x:.2f}°<extra></extra>",
    )
    return figure.update_layout(
        height=LOW,
        annotations=_indices(peaks, base, APART),
        xaxis_title_text=f"2θ (°), {text(data.radiation)}",
        yaxis={
            "title_text": "Intensity",
            "showticklabels": False,
            "ticks": "",
            "showgrid": False,
            "range": [-12, base + 122],
        },
        meta={"narrow": {"annotations": _indices(peaks, base, APART_NARROW)}},
    )


def _indices(peaks: Sequence[tuple[float, float, str]], base: float, apart: float) -> list[dict[str, Any]]:
    """Return the indices of the strongest reflections that do not overlap, as annotations."""
    named: list[tuple[float, float, str]] = []
    for peak in sorted(peaks, key=lambda peak: -peak[1]):
        if peak[1] > MIN_NAMED and all(abs(peak[0] - other[0]) > apart for other in named):
            named.append(peak)
    look = {"showarrow": False, "yshift": 9, "font": {"size": 11, "color": "#5b6b7b"}}
    return [{"x": x, "y": base + y, "text": text(hkl).replace(" ", "\u2009"), **look} for x, y, hkl in named]
