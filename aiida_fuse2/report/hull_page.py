"""A convex hull as one HTML page: plot, table, decomposition of unstable phases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiida_fuse2 import __version__

from .hull import Hull, HullRow
from .plots.hull import HULL_BARS, HULL_PLOTS
from .template import whole_page


def render_hull(hull: Hull, *, potential: str, notes: Sequence[str] = ()) -> str:
    """Return a hull as one HTML page that loads nothing.

    Args:
        hull: result of ``convex_hull``.
        potential: potential that gave the energies.
        notes: notes on searches, e.g. omitted ones.
    """
    title = "Convex hull of " + ", ".join(row.formula for row in hull.rows)
    return whole_page(
        "hull.html",
        title=title,
        scripts=["hull.js"],
        data=payload(hull, potential=potential, notes=notes),
        plots=[HULL_PLOTS.get(len(hull.ends), HULL_BARS)],
        subject=hull,
    )


def payload(hull: Hull, *, potential: str, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the plain values that the script of the page reads.

    Args:
        hull: result of ``convex_hull``.
        potential: potential that gave the energies.
        notes: notes on searches, e.g. omitted ones.
    """
    rows = sorted(hull.rows, key=lambda row: (row.above, row.formula))
    return {
        "ends": list(hull.ends),
        "elements": list(hull.elements),
        "rows": [_row(row) for row in rows],
        "potential": potential,
        "notes": list(notes),
        "version": __version__,
    }


def _row(row: HullRow) -> dict[str, Any]:
    return {
        "formula": row.formula,
        "search": row.search,
        "energy": row.energy,
        "formation": row.formation,
        "above": row.above,
        "stable": row.is_stable,
        "end": row.is_end,
        "becomes": [[name, part] for name, part in sorted(row.decomposition.items())],
    }
