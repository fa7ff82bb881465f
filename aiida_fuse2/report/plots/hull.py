"""A convex hull: over two end members, over three, or as bars for any other number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
from scipy.spatial import ConvexHull, QhullError

from aiida_fuse2.report.hull import NEGLIGIBLE, Hull, HullRow

from .base import COLOURS, GREY, Plot, formula, padded, text

HEIGHT, NARROW_HEIGHT = 560, 470
"""Height of a plot over two or three end members, pixels."""

SCALE = ((0, "#f2c48d"), (0.5, "#d1602b"), (1, "#7a1f3d"))
"""Colours of phases above the hull."""

BAR = {"thickness": 12, "outlinewidth": 0, "title": {"font": {"size": 12}, "side": "top"}}
WIDE_BAR = {"len": 0.6, "title_text": "above the hull<br>(meV/atom)"}
NARROW_BAR = {
    "len": 0.9,
    "title.text": "above the hull (meV/atom)",
    "orientation": "h",
    "x": 0.5,
    "y": -0.2,
    "yanchor": "top",
}
"""Colour scale: beside the plot, or below it on a narrow page."""

HOVER = (
    "<b>%{customdata[0]}</b>, search %{customdata[3]}<br>formation %{customdata[1]} meV/atom"
    "<br>%{customdata[2]} meV/atom above the hull<extra></extra>"
)


def binary(hull: Hull) -> go.Figure:
    """Return the energies of formation over two end members."""
    energies = [_formation(row) for row in hull.rows]
    low, high = padded(min(energies), max(energies), 0.12, level=10)
    first, second = (formula(end) for end in hull.ends)
    figure = _phases(hull, go.Scatter, lambda row: {"x": row.parts[1], "y": _formation(row)})
    return figure.update_layout(
        xaxis={"title_text": f"Share of the atoms in {second}, the rest in {first}", "range": [-0.06, 1.06]},
        yaxis={
            "title_text": "Energy of formation (meV/atom)",
            "range": [low - 0.6 * (high - max(energies)), high],  # the names are below the points
            "zeroline": True,
            "zerolinecolor": "#c3ccd5",
        },
        meta={
            "narrow": {
                "xaxis.title.text": f"Share of atoms in {second}",
                "yaxis.title.text": "Formation (meV/atom)",
                "height": NARROW_HEIGHT,
            }
        },
    )


def ternary(hull: Hull) -> go.Figure:
    """Return the phases and tie lines over three end members."""
    figure = _phases(hull, go.Scatterternary, lambda row: dict(zip("abc", row.parts, strict=True)))
    corners = {
        f"{axis}axis": {"title_text": formula(end), "showticklabels": False, "ticks": "", "min": 0}
        for axis, end in zip("abc", hull.ends, strict=True)
    }
    return figure.update_layout(
        ternary={"sum": 1, **corners},
        margin={"l": 40, "r": 40, "t": 60, "b": 60},
        meta={"narrow": {"height": NARROW_HEIGHT}},
    )


def bars(hull: Hull) -> go.Figure:
    """Return the energies above the hull, the lowest on top."""
    rows = sorted(hull.rows, key=lambda row: (row.above, row.formula), reverse=True)
    place = {"x": [1000 * row.above for row in rows], "y": [formula(row.formula) for row in rows], "showlegend": False}
    figure = go.Figure()
    figure.add_bar(**place, orientation="h", width=0.12, marker_color=GREY, hoverinfo="skip")
    figure.add_scatter(
        **place,
        mode="markers",
        customdata=[_known(row) for row in rows],
        hovertemplate=HOVER,
        cliponaxis=False,
        marker={"size": 12, "color": [COLOURS[0] if row.is_stable else COLOURS[1] for row in rows]},
    )
    return figure.update_layout(
        height=120 + 34 * len(rows),
        xaxis={"title_text": "Energy above the hull (meV/atom)", "rangemode": "tozero"},
        yaxis={"type": "category", "showgrid": False},
        meta={"narrow": {"xaxis.title.text": "Above the hull (meV/atom)"}},
    )


HULL_PLOTS = {
    2: Plot(
        "hull",
        binary,
        "Energy of formation",
        "Phases on the line are stable against mixtures of the others; those above it are not.",
    ),
    3: Plot(
        "hull",
        ternary,
        "Phases and tie lines",
        "Phases on tie lines are stable against mixtures of the others; colours show how far the others lie above the "
        "hull.",
    ),
}
"""Plots of a hull by the number of its end members."""

HULL_BARS = Plot(
    "hull",
    bars,
    "Energy above the hull",
    "There are more than three end members: name two or three with --end to see compositions on a line or in a "
    "triangle.",
)
"""Plot of a hull with any other number of end members."""


def _phases(hull: Hull, kind: type[Any], place: Callable[[HullRow], dict[str, float]]) -> go.Figure:
    """Return tie lines and phases; those above the hull are coloured by their energy above it.

    Args:
        hull: hull of two or three end members.
        kind: kind of the traces.
        place: function that returns the coordinates of a phase by the names that the traces use.
    """

    def places(rows: Sequence[HullRow | None]) -> dict[str, list[float | None]]:
        names = place(hull.rows[0])
        return {name: [None if row is None else place(row)[name] for row in rows] for name in names}

    lines = [end for pair in tie_lines(hull.rows) for end in (*(hull.rows[index] for index in pair), None)]
    line = {"color": COLOURS[0], "width": 2 if kind is go.Scatter else 1.5}
    figure = go.Figure(kind(**places(lines), mode="lines", line=line, hoverinfo="skip", showlegend=False))
    stable, other = ([row for row in hull.rows if row.is_stable is wanted] for wanted in (True, False))
    shared = {"hovertemplate": HOVER, "cliponaxis": False}
    figure.add_trace(
        kind(
            **places(stable),
            **shared,
            mode="markers+text",
            name="on the hull",
            customdata=[_known(row) for row in stable],
            text=["" if kind is not go.Scatter and row.is_end else formula(row.formula) for row in stable],
            textposition="bottom center",
            textfont_size=13,
            marker={"size": 11, "color": COLOURS[0], "line": {"color": "#fff", "width": 1.5}},
        )
    )
    if other:
        above = [1000 * row.above for row in other]
        figure.add_trace(
            kind(
                **places(other),
                **shared,
                mode="markers",
                name="above it",
                customdata=[_known(row) for row in other],
                marker={"size": 10, "symbol": "diamond", "line": {"color": "#fff", "width": 1}, "color": above},
                marker_cmin=0,
                marker_cmax=max(1.0, *above),
                marker_colorscale=SCALE,
                marker_colorbar={**BAR, **WIDE_BAR},
                meta={"narrow": {f"marker.colorbar.{name}": value for name, value in NARROW_BAR.items()}},
            )
        )
    return figure.update_layout(height=HEIGHT)


def _formation(row: HullRow) -> float:
    return 1000 * (row.formation or 0.0)


def _known(row: HullRow) -> list[str]:
    """Return the values shown for a phase under the pointer."""
    energies = [f"{energy:.1f}".replace("-", "−") for energy in (_formation(row), 1000 * row.above)]
    return [text(row.formula), *energies, text(row.search)]


def tie_lines(rows: Sequence[HullRow]) -> list[list[int]]:
    """Return the pairs of stable phases that are neighbours on the hull, by their indices.

    Args:
        rows: phases with their parts of two or three end members.
    """
    stable = [place for place, row in enumerate(rows) if row.is_stable and row.parts and row.formation is not None]
    if not stable or len(rows[stable[0]].parts) < 2:
        return []
    if len(rows[stable[0]].parts) == 2:
        ordered = sorted(stable, key=lambda place: rows[place].parts[1])
        return [list(pair) for pair in pairwise(ordered)]
    found = {tuple(sorted(pair)) for facet in _facets(rows, stable) for pair in combinations(facet, 2)}
    return [list(pair) for pair in sorted(found)]


def _facets(rows: Sequence[HullRow], stable: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the lower triangles of the hull over three end members, by the indices of their corners."""
    points = np.array([[*rows[place].parts[:2], float(rows[place].formation or 0.0)] for place in stable])
    scale = np.ptp(points[:, 2])
    if len(stable) <= 3 or scale < NEGLIGIBLE:
        return [tuple(stable)] if len(stable) == 3 else []
    points[:, 2] /= scale
    try:
        hull = ConvexHull(points)
    except QhullError:  # all in one plane that is not horizontal
        return []
    lower = hull.equations[:, 2] < -NEGLIGIBLE  # its normals point outwards; those of the sides are horizontal
    return [tuple(stable[corner] for corner in facet) for facet in hull.simplices[lower]]
