"""The common base of all plots: their registration, their style, and safe texts."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

COLOURS = ("#1f5fa8", "#d1602b", "#2b8a5f", "#8e4fa3", "#c9a227", "#3aa6b9", "#b03a5b", "#6b7f2a")
"""Colours of curves and points, in this order."""

GREY = "#aab5c0"
"""Colour of what stays in the background."""

ENERGY = "Energy (eV/atom)"
"""Title of the energy axis."""

LOW = 320
"""Height of a plot that needs less than the usual one, pixels."""

WINDOW = 0.2
"""Energies up to so far above the lowest matter, eV/atom."""

FEW = 200
"""Points are drawn larger if there are fewer than this."""

SYMBOL = re.compile(r"(?<![\w-])([PIFRABC](?:-?[1-6](?:_[1-5])?|[mnabcde/])+)(?![\w-])")
"""Symbol of a space group in a text; names such as Moissanite-4H have none."""

_INK, _EDGE, _GRID = "#1c2733", "#8996a3", "#edf0f3"
_AXIS = {
    "title": {"standoff": 10},
    "gridcolor": _GRID,
    "linecolor": _EDGE,
    "tickcolor": _EDGE,
    "ticks": "outside",
    "ticklen": 4,
    "showline": True,
    "zeroline": False,
    "automargin": True,
}
_CORNER = {"gridcolor": _GRID, "linecolor": _EDGE, "title": {"font": {"size": 15}}}

THEME: dict[str, Any] = {
    "layout": {
        "font": {"size": 13, "color": _INK},
        "margin": {"l": 70, "r": 18, "t": 34, "b": 52},
        "paper_bgcolor": "#fff",
        "plot_bgcolor": "#fff",
        "hovermode": "closest",
        "colorway": COLOURS,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "ternary": {"bgcolor": "#fff", "aaxis": _CORNER, "baxis": _CORNER, "caxis": _CORNER},
    }
}
"""Template of all plots on a page, for what a figure does not set; the page adds its font."""

SWITCH: dict[str, Any] = {
    "type": "buttons",
    "direction": "right",
    "x": 1,
    "xanchor": "right",
    "y": 0,
    "yanchor": "top",
    "pad": {"t": 54},
    "bgcolor": "#fff",
    "bordercolor": "#dde3e9",
    "font": {"size": 12},
}
"""Look of the switch below a plot, where no legend is."""

_NO_TAG = re.compile(r"<(?!/?(?:b|i|br|sub|sup|extra)>)")
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@dataclass(frozen=True)
class Plot:
    """A plot of a page.

    Attributes:
        name: one word; the address of the plot on the page, and its name in the navigation.
        draw: function that returns the figure, or None if there is nothing to draw.
        title: title above the plot. A plot without a title is in a section that the page already has.
        note: text below the title.
    """

    name: str
    draw: Callable[[Any], go.Figure | None]
    title: str = ""
    note: str = ""


def text(value: object) -> str:
    """Return a value from data as a text that a plot shows as it is."""
    return visible(re.sub(r"""[&<>"'%]""", lambda found: f"&#{ord(found[0])};", str(value)))


def visible(value: str) -> str:
    """Return a text in which invisible characters, and those that change its direction, are shown by their numbers."""
    return "".join(f"\\u{{{ord(c):x}}}" if unicodedata.category(c) in _INVISIBLE else c for c in value)


def safe(value: str) -> str:
    """Return a text that keeps only the tags of plots, without attributes."""
    return visible(_NO_TAG.sub("&lt;", value))


def formula(value: object) -> str:
    """Return a formula with its numbers as subscripts."""
    pieces = enumerate(re.split(r"(\d+(?:\.\d+)?)", str(value)))
    return "".join(f"<sub>{text(piece)}</sub>" if index % 2 else text(piece) for index, piece in pieces)


def group(value: object) -> str:
    """Return a text in which symbols of space groups have their subscripts and bars, as ``group`` of the page does."""
    pieces = enumerate(SYMBOL.split(str(value)))
    return "".join(_typeset(piece) if index % 2 else text(piece) for index, piece in pieces)


def _typeset(symbol: str) -> str:
    """Return the symbol of a space group: ``_1`` becomes a subscript, ``-3`` a digit with a bar."""
    barred = re.sub(r"-(\d)", "\\1\N{COMBINING OVERLINE}", symbol)
    return re.sub(r"_(\d)", r"<sub>\1</sub>", barred)


def energy_range(values: Iterable[float], part: float = 0.9) -> list[float]:
    """Return the range in which nearly all energies lie, so that a few bad structures do not stretch the axis.

    Args:
        values: values, at least one.
        part: fraction of the energies that is always shown.
    """
    ordered = sorted(values)
    low, top, usual = ordered[0], ordered[-1], ordered[int(part * (len(ordered) - 1))]
    return padded(low, usual if top - low > 2.5 * (usual - low) and usual > low else top, 0.06)


def in_window(figure: go.Figure, energies: pd.Series, others: pd.Series | None = None) -> go.Figure:
    """Return a figure that shows the energies near the lowest, with a switch for all of them if some are above.

    Args:
        figure: figure with energies on its second axis.
        energies: energies, eV/atom, at least one.
        others: values on the first axis, whose range follows; None leaves that axis.
    """

    def ranges(shown: pd.Series) -> dict[str, list[float]]:
        own = {"yaxis.range": padded(energies[shown].min(), energies[shown].max(), 0.06)}
        return (
            own if others is None else own | {"xaxis.range": padded(others[shown].min(), others[shown].max(), 0.05, 1)}
        )

    near = energies <= energies.min() + WINDOW
    whole = pd.Series(True, index=energies.index)
    figure.update_layout(**{name.replace(".", "_"): limits for name, limits in ranges(near).items()})
    if near.all():
        return figure
    texts = (f"Within {1000 * WINDOW:.0f} meV/atom", "All")
    buttons = [
        {"label": label, "method": "relayout", "args": [ranges(shown)]}
        for label, shown in zip(texts, (near, whole), strict=True)
    ]
    return figure.update_layout(updatemenus=[{"buttons": buttons, **SWITCH}])


def lowest(tried: pd.DataFrame, colour: str) -> go.Scatter:
    """Return the line of the lowest energy so far, of ``ReportData.explored``."""
    steps = pd.concat([tried.drop_duplicates("lowest"), tried.tail(1)])
    line = {"color": colour, "width": 2, "shape": "hv"}
    return go.Scatter(mode="lines", name="lowest", x=steps.number, y=steps.lowest, line=line, hoverinfo="skip")


def padded(low: float, high: float, pad: float, level: float = 0.1) -> list[float]:
    """Return a range with a margin on both sides.

    Args:
        low: beginning of the range.
        high: end of the range.
        pad: each margin, as a fraction of the range.
        level: length that is taken for a range of length zero.
    """
    margin = pad * (high - low or level)
    return [float(low - margin), float(high + margin)]


def plain(figure: go.Figure) -> dict[str, Any]:
    """Return a figure as plain values for the script of a page, all its texts safe; the page has the template."""
    values = json.loads(figure.to_json(engine="json"))
    values["layout"].pop("template", None)
    return {key: _safe_texts(values[key]) for key in ("data", "layout")}


def _safe_texts(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _safe_texts(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_safe_texts(value) for value in values]
    return safe(values) if isinstance(values, str) else values
