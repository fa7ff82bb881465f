"""How much a search says about what it has not found."""

from __future__ import annotations

from aiida_fuse2.calculations.conversions import history_rows
from aiida_fuse2.core.search.evidence import Evidence, evidence_of_rows

from .chain import generation_records
from .loading import search_settings_of


def evidence(search: int) -> Evidence:
    """Return what the trials of a search, running or ended, say; those of the searches that it continues count, too.

    Args:
        search: primary key of the search.
    """
    rows = history_rows(record.columns for record in generation_records(search))
    return evidence_of_rows(rows, search_settings_of(search))
