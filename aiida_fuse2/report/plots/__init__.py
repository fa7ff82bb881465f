"""The plots of a report: each is a function that returns a figure, and a line here.

A function gets the data of the report and returns a figure of plotly, or None if there is nothing to draw. The page
adds the style (``base.THEME``), draws the figure when it comes into view, and makes all its texts safe.
"""

from __future__ import annotations

from .base import Plot
from .cost import cost, cpu
from .diffraction import diffraction
from .energy import energy, volume
from .tiers import tiers
from .walkers import path, walkers

__all__ = ["PLOTS", "Plot"]

PLOTS: tuple[Plot, ...] = (
    Plot(
        "energy",
        energy,
        "Energy of the structures in the order they were tried",
        "Each point is a relaxed structure; accepted steps of the walkers stand out. The line is the lowest energy so "
        "far. Drag to zoom, double click to see all.",
    ),
    Plot("path", path),
    Plot(
        "volume",
        volume,
        "Energy against volume",
        "Coloured by the space group of the relaxed structure; the groups that reach the lowest energies have a colour "
        "of their own.",
    ),
    Plot(
        "walkers",
        walkers,
        "Walkers",
        "Energy of each walker's current structure, and the temperature with which it accepts a rise.",
    ),
    Plot("cpu", cpu),
    Plot("cost", cost),
    Plot("tiers", tiers),
    Plot(
        "diffraction",
        diffraction,
        "X-ray diffraction",
        "Simulated powder patterns, lines 0.2° wide, above the measured ones.",
    ),
)
"""Plots of a report. A new one comes before the lineage; ``report.html`` has the places of the others."""
