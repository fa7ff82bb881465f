"""Several searches side by side as one HTML page, with the tables of the paper."""

from __future__ import annotations

from collections.abc import Sequence

from aiida_fuse2 import __version__

from .comparison import ExperimentFigures, SearchFigures, values
from .paper_tables import paper_tables
from .plots.comparison import comparison_plots
from .template import whole_page


def render_comparison(
    searches: Sequence[SearchFigures], table: Sequence[ExperimentFigures], *, baseline: str, tolerance: float
) -> str:
    """Return a comparison as one HTML page that loads nothing.

    Args:
        searches: searches that were compared.
        table: result of ``compare``.
        baseline: as for ``compare``.
        tolerance: as for ``compare``.
    """
    payload = values(searches, table) | {"baseline": baseline, "tolerance": tolerance, "version": __version__}
    payload["tables"] = [one.as_values() for one in paper_tables(table, baseline=baseline)]
    formulas = ", ".join(dict.fromkeys(search.formula for search in searches))
    return whole_page(
        "comparison.html",
        title=f"Searches for {formulas}",
        scripts=["comparison.js"],
        data=payload,
        plots=comparison_plots(searches),
        subject=searches,
    )
