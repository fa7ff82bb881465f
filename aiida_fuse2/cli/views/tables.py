"""Formatted tables and numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from aiida_fuse2.core.errors import printable_lines
from aiida_fuse2.core.moves import find_move

PIPE_WIDTH = 160
"""Columns of text if there is no terminal."""

UNBOUNDED_WIDTH = 1000
"""Columns of text in which every table fits, to measure its width."""


class PlainConsole(Console):
    """A console that prints texts as they are: no markup of rich is read, and control characters are shown as escapes.

    Names, reasons and messages may come from others. Only ``coloured`` makes text with a style.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text in the form that is measured and laid out."""
        return super().render_str(printable_lines(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the written segments, with all control characters as escapes."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable_lines(segment.text), segment.style)


def coloured(*parts: str | tuple[str, str]) -> Text:
    """Return a text of several parts, some with a style; control characters become escapes.

    Args:
        parts: texts, or text and style.
    """
    styled = [(part, "") if isinstance(part, str) else part for part in parts]
    return Text.assemble(*((printable_lines(text), style) for text, style in styled))


def make_console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal, or wide enough for a table if there is none."""
    console = PlainConsole(stderr=stderr)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def plain_table(columns: Iterable[tuple[str, bool]], *, header_style: str = "bold") -> Table:
    """Return an empty table without lines.

    Args:
        columns: title of each, and whether it holds numbers, which are aligned at the right and not broken.
        header_style: style of the titles.
    """
    table = Table(box=None, pad_edge=False, header_style=header_style)
    for title, is_number in columns:
        table.add_column(title, justify="right" if is_number else "left", no_wrap=is_number)
    return table


def spacegroup_text(symbol: str | None, number: int | None) -> str:
    """Return a space group as ``Pm-3m (221)``, or ``?`` if it is not known."""
    if number is None:
        return symbol or "?"
    return f"{symbol or '?'} ({number})"


def counts_text(counts: Mapping[str, int]) -> str:
    """Return counts by reason, most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {number}" for reason, number in ordered) or "none"


def numbers_text(numbers: Sequence[int]) -> str:
    """Return ascending numbers with ranges of three or more shortened: ``0-2 5 6``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return " ".join(f"{s[0]}-{s[-1]}" if len(s) > 2 else " ".join(map(str, s)) for s in spans)


def origin_text(row: Mapping[str, Any], *, short: bool = False) -> str:
    """Return the origin of a structure: its generator, or the move that made it.

    Args:
        row: row of ``query.ranked``.
        short: whether to give only the name of a move.
    """
    name = row["move"]
    if not name:
        return str(row["origin"])
    if short:
        return f"move {name}"
    if row["origin"] != "move":
        return f"{row['origin']} (move {name})"
    move = find_move(name)
    return f"move {name if move is None else move.full_name}"


RUNS_COLUMN = "in runs"
"""Title of the column that only a table of several runs has."""

TARGETS_COLUMN = "target"
"""Title of the column that only a table with targets has."""

TYPE_COLUMN = "type"
"""Title of the column that only a table of a search with a library of prototypes has."""

PATTERN_COLUMNS = ("pattern", "peaks")
"""Titles of the columns that only a table with a measured powder pattern has: similarity, and explained peaks."""

_COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("", "right"),
    ("E\neV/atom", "right"),
    ("ΔE\nmeV/atom", "right"),
    ("space group", "left"),
    ("tight", "left"),
    (TYPE_COLUMN, "left"),
    ("atoms", "right"),
    ("Z", "right"),
    ("V/atom\nÅ³", "right"),
    ("found", "right"),
    (PATTERN_COLUMNS[0], "right"),
    (PATTERN_COLUMNS[1], "right"),
    (TARGETS_COLUMN, "left"),
    (RUNS_COLUMN, "left"),
    ("origin", "left"),
    ("label", "left"),
    ("PK", "right"),
)


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """The parts of the table that are shown.

    Attributes:
        left_out: titles of columns that are not shown.
        short: whether moves are given by number only, and types by name only.
        margin: least difference between the width of a column of numbers and that of its title.
    """

    left_out: frozenset[str] = frozenset()
    short: bool = False
    margin: int = 1


_LAYOUTS = (
    _Layout(),
    _Layout(left_out=frozenset({"label"})),
    _Layout(left_out=frozenset({"label"}), short=True),
    _Layout(left_out=frozenset({"label", "tight"}), short=True),
    _Layout(left_out=frozenset({"label", "tight"}), short=True, margin=0),
    _Layout(left_out=frozenset({"label", "tight", "origin"}), short=True, margin=0),
    _Layout(left_out=frozenset({"label", "tight", "origin", "Z"}), short=True, margin=0),
    _Layout(left_out=frozenset({"label", "tight", "origin", "Z", TYPE_COLUMN}), margin=0),
)
"""Layouts from wide to narrow; the tight space group is omitted before the loose one, which matters more."""


def type_text(name: str, *, short: bool) -> str:
    """Return the structure type for a table; short, without its compound and Pearson symbol."""
    return re.sub(r" \((?:[^()]*(?:\([^()]*\)[^()]*)*, )?[a-z][A-Z]\d+\)", "", name) if short else name


def pattern_cells(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the texts of the columns ``PATTERN_COLUMNS``, empty if there is no comparison."""
    match = row.get("pattern")
    return (f"{match['similarity']:.2f}", f"{match['explained']}/{match['observed']}") if match else ("", "")


def ranked_table(rows: Sequence[Mapping[str, Any]], limit: int, *, width: int) -> Table:
    """Return the best rows of ``query.ranked`` as a table.

    Args:
        rows: lowest energy first; if they have ``targets`` or ``runs``, there is a column for these.
        limit: largest number of rows.
        width: columns of text; if there are few, less is shown.
    """
    ruler = PlainConsole(width=UNBOUNDED_WIDTH)
    for layout in _LAYOUTS:
        table = _table(rows[:limit], layout)
        if ruler.measure(table).maximum <= width:
            break
    return table


def _table(rows: Sequence[Mapping[str, Any]], layout: _Layout) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    optional = {
        RUNS_COLUMN: "runs",
        TARGETS_COLUMN: "targets",
        TYPE_COLUMN: "type",
        **dict.fromkeys(PATTERN_COLUMNS, "pattern"),
    }
    hidden = layout.left_out | {title for title, key in optional.items() if not any(row.get(key) for row in rows)}
    for title, justify in _COLUMNS:
        if title not in hidden:
            number = justify == "right"
            least = _width(title) + layout.margin if number else None
            table.add_column(title, justify=justify, no_wrap=number, min_width=least)
    for row in rows:
        cells = zip(_COLUMNS, _cells(row, short=layout.short), strict=True)
        table.add_row(*(cell for (title, _), cell in cells if title not in hidden))
    return table


def _width(title: str) -> int:
    return max(len(line) for line in title.split("\n"))


def _cells(row: Mapping[str, Any], *, short: bool) -> tuple[str, ...]:
    return (
        str(row["rank"]),
        f"{row['energy']:.4f}",
        f"{1000 * row['delta']:.1f}",
        spacegroup_text(row["spacegroup_symbol_loose"], row["spacegroup_loose"]),
        spacegroup_text(row["spacegroup_symbol"], row["spacegroup"]),
        type_text(row.get("type") or "", short=short),
        str(row["n_atoms"]),
        str(row["z"]),
        f"{row['volume'] / row['n_atoms']:.2f}",
        str(row["found"]),
        *pattern_cells(row),
        ", ".join(row.get("targets", ())),
        numbers_text(row.get("runs", ())),
        origin_text(row, short=short),
        row["label"],
        str(row["pk"]),
    )
