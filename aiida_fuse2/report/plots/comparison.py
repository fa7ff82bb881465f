"""Searches for one composition side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import plotly.graph_objects as go

from aiida_fuse2.report.comparison import SearchFigures

from .base import COLOURS, ENERGY, Plot, energy_range, formula, text


def comparison_plots(searches: Sequence[SearchFigures]) -> list[Plot]:
    """Return one plot for each composition, with all its searches."""
    names = dict.fromkeys(search.formula for search in searches)
    return [
        Plot(
            f"composition-{index}",
            partial(progress, composition=name),
            formula(name),
            "Lowest energy so far, one line for each search, with its best start (diamond) and its lowest structure "
            "(star).",
        )
        for index, name in enumerate(names)
    ]


def progress(searches: Sequence[SearchFigures], composition: str) -> go.Figure | None:
    """Return the lowest energies of the searches for a composition, one colour for the same starts and potential."""
    shown = [search for search in searches if search.formula == composition and search.steps]
    if not shown:
        return None
    kinds = list(dict.fromkeys(_kind(search) for search in searches))
    figure, named = go.Figure(), set()
    for search in shown:
        kind, last = _kind(search), search.steps[-1][1]
        seed = "" if search.seed is None else f", seed {text(search.seed)}"
        which = f"{search.kind} {text(search.pk)}{seed}"
        figure.add_scatter(
            mode="lines",
            name=text(kind),
            legendgroup=str(kinds.index(kind)),
            showlegend=kind not in named,
            x=[*(number for number, _ in search.steps), search.tried],
            y=[*(energy for _, energy in search.steps), last],
            line={"color": COLOURS[kinds.index(kind) % len(COLOURS)], "width": 2, "shape": "hv"},
            hovertemplate=f"{which}<br>%{{x}}: %{{y:.4f}} eV/atom<extra></extra>",
        )
        named.add(kind)
        ends = {"best start": (search.start_energy, "diamond"), "lowest": (last, "star")}
        for what, (energy, symbol) in ends.items():
            figure.add_scatter(
                mode="markers",
                legendgroup=str(kinds.index(kind)),
                showlegend=False,
                x=[number for number, reached in search.steps if reached == energy],
                y=[reached for _, reached in search.steps if reached == energy],
                marker={"color": COLOURS[kinds.index(kind) % len(COLOURS)], "size": 9, "symbol": symbol},
                hovertemplate=f"{which}, {what}<br>%{{x}}: %{{y:.4f}} eV/atom<extra></extra>",
            )
    energies = [energy for search in shown for _, energy in search.steps]
    return figure.update_layout(
        xaxis_title_text="Structure number",
        yaxis={"title_text": ENERGY, "range": energy_range(energies)},
        meta={"narrow": {"legend.entrywidth": 0.98}},
    )


def _kind(search: SearchFigures) -> str:
    return search.name or f"{search.starts}, {search.potential}"
