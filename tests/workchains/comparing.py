"""Comparing the records of searches."""

from __future__ import annotations

from aiida_fuse2.calculations.conversions import columns_to_rows
from aiida_fuse2.query.chain import generation_records


def rows_of(search):
    """Return the rows of all generations of a search."""
    return [row for g in generation_records(search.pk) for row in columns_to_rows(g.columns)]


def comparable(rows):
    """Return rows without what differs when a search is repeated."""
    return [{k: v for k, v in row.items() if k != "cpu_seconds"} for row in rows]
