"""Tiers of relaxation side by side."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from aiida_fuse2.report.data import ReportData

from .base import COLOURS, FEW, energy_range, text


def tiers(data: ReportData) -> go.Figure | None:
    """Return the energies in each earlier tier against those in the last, both above the lowest, meV/atom."""
    if not data.tier_figures or not data.tier_figures[-1].energies:
        return None
    *earlier, last = data.tier_figures
    name, size = text(last.name), 8 if len(last.energies) < FEW else 5
    figure, above = go.Figure(), []
    for index, tier in enumerate(earlier):
        energies = 1000 * np.array(tier.energies)
        y, x = (energies - energies.min(axis=0)).T
        above.append(y)
        figure.add_scatter(
            mode="markers",
            name=text(tier.name),
            x=x,
            y=y,
            marker={"color": COLOURS[index % len(COLOURS)], "size": size, "opacity": 0.7},
            hovertemplate=f"{name} %{{x:.1f}}, {text(tier.name)} %{{y:.1f}} meV/atom<extra></extra>",
        )
    return figure.update_layout(
        showlegend=True,
        xaxis={"title_text": f"Above the lowest in {name} (meV/atom)", "range": energy_range(x)},
        yaxis={"title_text": "Above the lowest in the tier (meV/atom)", "range": energy_range(np.concatenate(above))},
        meta={
            "narrow": {"xaxis.title.text": f"ΔE in {name} (meV/atom)", "yaxis.title.text": "ΔE in the tier (meV/atom)"}
        },
    )
