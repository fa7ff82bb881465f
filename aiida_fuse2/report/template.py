"""What all pages share: one HTML file that loads nothing, with its data and the library that draws it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from plotly.offline import get_plotlyjs


def whole_page(body: str, *, title: str, scripts: Sequence[str], data: Any, drawn: str = "Plots are") -> str:
    """Return a page around its own part.

    It holds plotly.js (MIT licence, named at its beginning).

    Args:
        body: name of the file with header and main part.
        title: of the page.
        scripts: names of the files that run in it, in this order, after ``plots.js``.
        data: plain values that they read.
        drawn: what plotly.js draws, as the beginning of a sentence.
    """
    folder = files(__package__)

    def read(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    return fill(
        read("base.html"),
        TITLE=escape(title),
        STYLE=read("report.css"),
        BODY=read(body),
        DRAWN=drawn,
        PLOTLY=get_plotlyjs(),
        DATA=script_json(data),
        SCRIPT="".join(read(name) for name in ("plots.js", *scripts)),
    )


def fill(template: str, **values: str) -> str:
    """Return a template with each ``%%NAME%%`` replaced by a text."""
    pieces = template.split("%%")
    return "".join(values[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def script_json(values: Any) -> str:
    """Return plain values as JSON that can stand in a script of a page; what is no finite number becomes null."""
    text = json.dumps(_finite(values), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _finite(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {str(key): _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values
