"""Structures in the graph compared with a measured powder pattern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aiida import orm

from .patterns import parse_wavelength, read_pattern
from .similarity import MeasuredPattern, best_match_text, by_similarity


@dataclass(frozen=True, kw_only=True)
class PatternOrder:
    """A measured pattern that structures are compared with, and whether they are put in the order of similarity.

    Attributes:
        measured: the pattern.
        is_order: whether the most similar structures come first.
    """

    measured: MeasuredPattern
    is_order: bool

    @property
    def ranked(self) -> int:
        """Number of structures of lowest energy that are put into order."""
        return self.measured.settings.compared if self.is_order else 0

    def applied(self, rows: Sequence[Mapping[str, Any]], number: int | None = None) -> list[dict[str, Any]]:
        """Return rows with the values of a ``PatternMatch`` as ``pattern``, None where the structure is not here.

        Args:
            rows: rows with ``pk``, lowest energy first.
            number: number of rows that are compared; more of them if they are to be ordered; by default all.
        """
        count = len(rows) if number is None else max(number, self.ranked)
        found = [{**row, "pattern": self._match(row["pk"])} for row in rows[:count]]
        return [*(by_similarity(found) if self.is_order else found), *map(dict, rows[count:])]

    def _match(self, pk: int | None) -> dict[str, Any] | None:
        return None if pk is None else asdict(self.measured.match(orm.load_node(pk).get_ase()))

    def text(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Return in words which of the rows fits best."""
        return best_match_text(self.measured.name, rows)


def read_order(path: Path | None, wavelength: str, rank_by: str) -> PatternOrder | None:
    """Return what the options of a command say on a pattern, None if they name none.

    Args:
        path: file of the pattern.
        wavelength: Å, or the name of a radiation in pymatgen.
        rank_by: ``energy`` or ``pattern``.

    Raises:
        InputError: if the file cannot be read, or the wavelength is wrong.
    """
    length = parse_wavelength(wavelength)
    if path is None:
        return None
    return PatternOrder(measured=MeasuredPattern(read_pattern(path, "pattern"), length), is_order=rank_by == "pattern")
