"""The options of a measured powder pattern."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from aiida_fuse2.report.matches import PatternOrder


def pattern_order(path: Path | None, wavelength: str, rank_by: str) -> PatternOrder | None:
    """Return the pattern that structures are compared with, None if none is named; see ``report.matches.read_order``.

    Raises:
        UsageError: if structures are to be ranked by a pattern that is not named.
        InputError: if the file cannot be read, or the wavelength is wrong.
    """
    from aiida_fuse2.report.matches import read_order

    if rank_by == "pattern" and path is None:
        raise click.UsageError("--rank-by pattern needs a --pattern")
    return read_order(path, wavelength, rank_by)
