"""Energies of the structures."""

from __future__ import annotations

import plotly.graph_objects as go

from aiida_fuse2.report.data import ReportData, phase_name

from .base import COLOURS, ENERGY, FEW, GREY, group, in_window, lowest, text


def energy(data: ReportData) -> go.Figure | None:
    """Return the energies of the structures in the order they were tried."""
    tried = data.explored
    if tried.empty:
        return None
    size = 8 if len(tried) < FEW else 5
    figure = go.Figure()
    for name, rows, marker in (
        ("explored", tried[~tried.accepted], {"color": GREY, "size": size, "opacity": 0.75}),
        ("accepted", tried[tried.accepted], {"color": COLOURS[0], "size": size + 1.5}),
    ):
        texts = [_hover(*pair) for pair in zip(rows.group, rows.walker, strict=True)]
        hover = "%{x}: %{y:.4f} eV/atom<br>%{text}<extra></extra>"
        figure.add_scatter(
            mode="markers", name=name, x=rows.number, y=rows.energy, text=texts, hovertemplate=hover, marker=marker
        )
    figure.add_trace(lowest(tried, COLOURS[1]))
    figure.update_layout(xaxis_title_text="Structure number", yaxis_title_text=ENERGY)
    return in_window(figure, tried.energy)


def _hover(symbol: str, walker: object) -> str:
    """Return space group and walker of a structure; a refined one has no walker."""
    return group(symbol) if walker is None else f"{group(symbol)}, walker {text(walker)}"


def volume(data: ReportData) -> go.Figure | None:
    """Return the energies against the volumes; each phase of the answer has a colour.

    Without an answer these are the space groups that reach the lowest energies.
    """
    tried = data.explored
    if tried.empty:
        return None
    larger = 2 if len(tried) < FEW else 0
    lowest_first = tried.groupby("group", sort=False).energy.min().sort_values(kind="stable").index
    named = [phase_name(row) for row in data.phases] or list(lowest_first)
    colours = dict(zip(named, COLOURS, strict=False))
    figure = go.Figure()
    for name in ["others", *reversed(colours)]:  # the groups of lowest energy are on top
        rows = tried[tried.group == name if name in colours else ~tried.group.isin(list(colours))]
        if rows.empty:
            continue
        figure.add_scatter(
            mode="markers",
            name=group(name.split(" (")[0]),
            x=rows.volume,
            y=rows.energy,
            text=group(name) if name in colours else [group(g) for g in rows.group],
            marker={"color": colours[name], "size": 6.5 + larger, "opacity": 0.9}
            if name in colours
            else {"color": GREY, "size": 4.5 + larger, "opacity": 0.6},
            hovertemplate="%{text}<br>%{x:.2f} Å³/atom, %{y:.4f} eV/atom<extra></extra>",
        )
    figure.update_layout(legend_traceorder="reversed", xaxis_title_text="Volume (Å³/atom)", yaxis_title_text=ENERGY)
    return in_window(figure, tried.energy, tried.volume)
