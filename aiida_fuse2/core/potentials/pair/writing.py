"""Writes libraries in the format of GULP."""

from __future__ import annotations

from collections.abc import Iterator

from .forms import Form, General, LennardJones, Shifted, Spline
from .library import PairLibrary, PairTerm


def _number(value: float) -> str:
    """Return a number that reads back as the same, in a form that Fortran can read."""
    return repr(float(value))


def _head(form: Form, *, is_shifted: bool) -> str:
    """Return the line that names the form."""
    words: list[str] = [form.name]
    if isinstance(form, Spline):
        words += ["cubic"] if form.cubic else []
    elif isinstance(form, LennardJones | General):
        words += [str(form.m), str(form.n)]
    return " ".join([*words, *(["ener"] if is_shifted else [])])


def _term_lines(term: PairTerm) -> Iterator[str]:
    is_shifted = isinstance(term.form, Shifted)
    form = term.form.form if isinstance(term.form, Shifted) else term.form
    yield _head(form, is_shifted=is_shifted)
    first, second = term.pair
    # the shift of a table stands before its range, so that no reader has to guess the meaning of two numbers
    numbers = (0.0,) if isinstance(form, Spline) else form.parameters()
    if form.name == "morse":
        numbers = (*numbers, 0.0)  # no Coulomb term is subtracted
    columns = " ".join(_number(value) for value in (*numbers, term.rmin, term.rmax))
    yield f"{first:<2} core {second:<2} core {columns}"
    if isinstance(form, Spline):
        for energy, distance in zip(form.energies, form.distances, strict=True):
            yield f"{_number(energy)} {_number(distance)}"


def write_library(library: PairLibrary, *, title: str = "") -> str:
    """Return the text of a library; reading it gives the same library.

    Args:
        library: each pair is written once, its elements in alphabetical order.
        title: comment for the first lines.
    """
    lines = [f"# {line}" for line in title.splitlines()]
    if library.charges:
        lines.append(f"species {len(library.charges)}")
        lines += [f"{element:<2} core {_number(charge)}" for element, charge in sorted(library.charges.items())]
    for term in library.terms:
        lines += _term_lines(term)
    return "\n".join(lines) + "\n"
