"""Tables 1 to 6 of the paper, from the figures of experiments: plain values, no AiiDA."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aiida_fuse2.core.settings import GNOA

from .comparison import ExperimentFigures

OF_CHGNET = "-chgnet"
"""End of the names of the experiments of table 5."""


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """A table with a row for each composition and a column for each experiment.

    Attributes:
        title: numbers of the paper's tables, and what is shown.
        columns: titles of the columns after the first.
        digits: number of decimals.
        rows: formula, and the value of each column, or None.
        bold: row and column of the values that the paper prints in bold.
    """

    title: str
    columns: tuple[str, ...]
    digits: int
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    bold: frozenset[tuple[int, int]] = frozenset()

    def as_values(self) -> dict[str, Any]:
        """Return the table in plain values."""
        return asdict(self) | {"bold": [list(place) for place in sorted(self.bold)]}


def paper_tables(figures: Sequence[ExperimentFigures], *, baseline: str) -> list[PaperTable]:
    """Return the tables for which there are experiments.

    Known and hypothetical compounds have tables of their own in the paper (1 and 2, 3 and 4), and one here.

    Args:
        figures: result of ``compare``.
        baseline: title of the experiment that speed is compared with.
    """
    titles = list(dict.fromkeys(row.experiment for row in figures))
    chgnet = [title for title in titles if title.endswith(OF_CHGNET)]
    main = [title for title in titles if title not in chgnet] or titles
    generated = {row.experiment for row in figures if GNOA in row.starts}
    faster = [title for title in main if title != baseline]
    tables = [
        _fastest(_table(f"Tables 1 and 3: speed relative to {baseline}", faster, 1, figures, lambda row: row.speedup)),
        _table("Tables 2 and 4: lowest energy, eV/atom", main, 2, figures, lambda row: row.energy, lowest=True),
        *_chgnet_table(figures, chgnet),
        _table(
            "Table 6: mean change from the best of the initial population, meV/atom",
            [title for title in titles if title in generated],
            0,
            figures,
            lambda row: row.improvement,
        ),
    ]
    return [table for table in tables if table.columns and table.rows]


def _table(
    title: str,
    columns: Sequence[str],
    digits: int,
    figures: Sequence[ExperimentFigures],
    value: Callable[[ExperimentFigures], float | None],
    *,
    lowest: bool = False,
) -> PaperTable:
    """Return a table of one value of each experiment; ``lowest`` says whether lowest energies are bold."""
    formulas = [f for f in _formulas(figures) if any(r.formula == f and r.experiment in columns for r in figures)]
    found = {(row.formula, row.experiment): row for row in figures}
    rows, bold = [], set()
    for line, formula in enumerate(formulas):
        cells = [found.get((formula, column)) for column in columns]
        rows.append((formula, tuple(None if cell is None else value(cell) for cell in cells)))
        bold |= {(line, place) for place, cell in enumerate(cells) if lowest and cell is not None and cell.is_lowest}
    return PaperTable(title=title, columns=tuple(columns), digits=digits, rows=tuple(rows), bold=frozenset(bold))


def _fastest(table: PaperTable) -> PaperTable:
    """Return a table of speeds with the largest of each row in bold, unless the baseline is faster."""
    bold = set()
    for line, (_, values) in enumerate(table.rows):
        shown = [None if value is None else round(value, table.digits) for value in values]
        largest = max((value for value in shown if value is not None), default=0.0)
        bold |= {(line, place) for place, value in enumerate(shown) if value == largest and largest > 1}
    return PaperTable(
        title=table.title, columns=table.columns, digits=table.digits, rows=table.rows, bold=frozenset(bold)
    )


def _chgnet_table(figures: Sequence[ExperimentFigures], titles: Collection[str]) -> list[PaperTable]:
    """Return table 5: speed of mlgen-chgnet relative to fgen-chgnet, and the energies of both."""
    first, second = f"fgen{OF_CHGNET}", f"mlgen{OF_CHGNET}"
    if first not in titles or second not in titles:
        return []
    found = {(row.formula, row.experiment): row for row in figures}
    rows: list[tuple[str, tuple[float | None, ...]]] = []
    bold = set()
    for formula in _formulas(figures):
        a, b = found.get((formula, first)), found.get((formula, second))
        if a is None or b is None:
            continue
        bold |= {(len(rows), place) for place, row in ((1, a), (2, b)) if row.is_lowest}
        speed = a.seconds / b.seconds if a.seconds and b.seconds else None
        rows.append((formula, (speed, a.energy, b.energy)))
    title = f"Table 5: speed of {second} relative to {first}, and lowest energies, eV/atom"
    columns = ("speed", first, second)
    return [PaperTable(title=title, columns=columns, digits=2, rows=tuple(rows), bold=frozenset(bold))]


def _formulas(figures: Sequence[ExperimentFigures]) -> list[str]:
    return list(dict.fromkeys(row.formula for row in figures))
