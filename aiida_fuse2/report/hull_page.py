"""A convex hull as one HTML page: plot, table, what becomes of what is not stable."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from aiida_fuse2 import __version__

from .hull import NEGLIGIBLE, Hull, HullRow
from .page import ENERGY_DIGITS
from .template import whole_page

BINARY, TERNARY, BARS = "binary", "ternary", "bars"
"""Ways to draw a hull: over two end members, over three, or as bars where there is no such plane."""


def render_hull(hull: Hull, *, potential: str, notes: Sequence[str] = ()) -> str:
    """Return a hull as one HTML page that loads nothing.

    Args:
        hull: of ``convex_hull``.
        potential: that gave the energies.
        notes: on searches, e.g. those that were left out.
    """
    title = "Convex hull of " + ", ".join(row.formula for row in hull.rows)
    return whole_page(
        "hull.html", title=title, scripts=["hull.js"], data=payload(hull, potential=potential, notes=notes)
    )


def payload(hull: Hull, *, potential: str, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Return what the script of the page reads, in plain values.

    Args:
        hull: of ``convex_hull``.
        potential: that gave the energies.
        notes: on searches, e.g. those that were left out.
    """
    kind = {2: BINARY, 3: TERNARY}.get(len(hull.ends), BARS)
    rows = sorted(hull.rows, key=lambda row: (row.above, row.formula))
    return {
        "kind": kind,
        "ends": list(hull.ends),
        "elements": list(hull.elements),
        "lines": [] if kind == BARS else tie_lines(rows),
        "rows": [_row(row) for row in rows],
        "potential": potential,
        "notes": list(notes),
        "version": __version__,
    }


def _row(row: HullRow) -> dict[str, Any]:
    return {
        "formula": row.formula,
        "search": row.search,
        "energy": round(row.energy, ENERGY_DIGITS),
        "formation": None if row.formation is None else round(row.formation, ENERGY_DIGITS),
        "above": round(row.above, ENERGY_DIGITS),
        "stable": row.is_stable,
        "end": row.is_end,
        "becomes": [[name, round(part, 3)] for name, part in sorted(row.decomposition.items())],
        "parts": [round(part, 6) for part in row.parts],
    }


def tie_lines(rows: Sequence[HullRow]) -> list[list[int]]:
    """Return the pairs of stable phases that lie beside each other on the hull, by their places.

    Args:
        rows: with their parts of two or three end members.
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
    """Return the lower triangles of the hull over three end members, by the places of their corners."""
    points = np.array([[*rows[place].parts[:2], float(rows[place].formation or 0.0)] for place in stable])
    scale = np.ptp(points[:, 2])
    if len(stable) <= 3 or scale < NEGLIGIBLE:
        return [tuple(stable)] if len(stable) == 3 else []
    points[:, 2] /= scale
    try:
        hull = ConvexHull(points)
    except QhullError:  # all in one plane that is not level
        return []
    lower = hull.equations[:, 2] < -NEGLIGIBLE  # its normals point outwards; those of the sides are level
    return [tuple(stable[corner] for corner in facet) for facet in hull.simplices[lower]]
