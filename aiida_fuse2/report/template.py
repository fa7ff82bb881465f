"""The common base of all pages: one HTML file that loads nothing, with its data and the library that draws it.

Data may come from others. It is JSON in the page, which the scripts put in as text (``html`` in ``shared.js``); texts
of figures are made safe (``plots.base``), and a policy of the page lets the browser run only its own two scripts and
load nothing.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

from aiida_fuse2.core.errors import printable

from .plots.base import THEME, Plot, plain, safe

CRYSTALS = "; crystals by 3Dmol.js, © 2014 University of Pittsburgh and contributors, BSD 3-clause licence"
"""What the foot of a page says if it draws crystals."""

DARK, AMBIENT = "max( dotProduct, 0.0 )", "( 0.42 + 0.58 * max( dotProduct, 0.0 ) )"
"""Light on a surface in the shaders of 3Dmol.js, and what takes its place: some of it comes from all sides, so that no
face of a polyhedron is black."""


def whole_page(
    body: str,
    *,
    title: str,
    scripts: Sequence[str],
    data: Mapping[str, Any],
    plots: Sequence[Plot],
    subject: Any,
    crystals: bool = False,
) -> str:
    """Return a page with its frame.

    It holds plotly.js (MIT licence) and, if it draws crystals, 3Dmol.js (BSD licence), with their licences.

    Args:
        body: name of the file with header and main part, in which ``%%NAME%%`` is the place of the plot of that name
            and ``%%others%%`` that of all plots that have none.
        title: title of the page.
        scripts: names of the files that run in it, in this order, after ``shared.js``.
        data: plain values that the scripts read.
        plots: plots of the page.
        subject: subject of the plots.
        crystals: whether it draws crystals.
    """
    folder = files(__package__)

    def read(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    libraries, script = [get_plotlyjs()], "".join(read(name) for name in ("shared.js", *scripts))
    if crystals:
        drawing = read("vendor/3Dmol-min.js").replace(DARK, AMBIENT)
        libraries.append(f"/*!\n{read('vendor/3Dmol-LICENSE.txt')}*/\n{drawing}")
    figures = {plot.name: figure for plot in plots if (figure := plot.draw(subject)) is not None}
    return fill(
        read("base.html"),
        POLICY=policy(*libraries, script),
        TITLE=escape(printable(title)),
        STYLE=read("report.css"),
        BODY=with_places(read(body), [plot for plot in plots if plot.name in figures]),
        CRYSTALS=CRYSTALS if crystals else "",
        LIBRARIES="".join(f"<script>{library}</script>\n" for library in libraries),
        DATA=script_json({**data, "theme": THEME, "plots": {name: plain(figures[name]) for name in figures}}),
        SCRIPT=script,
    )


def with_places(body: str, plots: Sequence[Plot]) -> str:
    """Return the part of a page with the places of its plots: a section of its own for each that has a title."""
    places = dict.fromkeys(body.split("%%")[1::2], "")
    for plot in plots:
        place = f'<div class="plot" id="plot-{plot.name}"></div>'
        if plot.title:
            head = f'<h2>{safe(plot.title)}</h2>\n    <p class="note">{safe(plot.note)}</p>'
            opening = f'<section id="{plot.name}" data-title="{plot.name.capitalize()}">'
            place = f"{opening}\n    {head}\n    {place}\n  </section>\n  "
        places[plot.name if plot.name in places else "others"] += place
    return fill(body, **places)


def policy(*scripts: str) -> str:
    """Return the Content-Security-Policy of a page: its own scripts run and no others, and nothing is loaded.

    Args:
        scripts: content of each script tag.
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
    """Return plain values as JSON that is safe in a script of a page; numbers that are not finite become null."""
    return str(to_json_plotly(values, engine="json"))
