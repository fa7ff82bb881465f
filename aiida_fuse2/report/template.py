"""What all pages share: one HTML file that loads nothing, with its data and the library that draws it.

Data may come from others. It is JSON in the page, which the scripts put in as text (``html`` and ``text`` in
``plots.js``), and a policy of the page lets the browser run its own two scripts and load nothing.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

from plotly.offline import get_plotlyjs

from aiida_fuse2.core.errors import printable


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

    plotly, script = get_plotlyjs(), "".join(read(name) for name in ("plots.js", *scripts))
    return fill(
        read("base.html"),
        POLICY=policy(plotly, script),
        TITLE=escape(printable(title)),
        STYLE=read("report.css"),
        BODY=read(body),
        DRAWN=drawn,
        PLOTLY=plotly,
        DATA=script_json(data),
        SCRIPT=script,
    )


def policy(*scripts: str) -> str:
    """Return the Content-Security-Policy of a page: its own scripts run and no others, and nothing is loaded.

    Args:
        scripts: text between the tags of each.
    """
    own = " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in scripts)
    return (
        f"default-src 'none'; script-src {own}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def fill(template: str, **values: str) -> str:
    """Return a template with each ``%%NAME%%`` replaced by a text."""
    pieces = template.split("%%")
    return "".join(values[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def script_json(values: Any) -> str:
    """Return plain values as JSON that can stand in a script of a page; what is no finite number becomes null."""
    return json.dumps(_finite(values), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _finite(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {str(key): _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values
