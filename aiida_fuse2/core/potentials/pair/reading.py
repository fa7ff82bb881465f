"""Reads libraries in the format of GULP: everything that is not understood is refused by name, never skipped.

Supported are the two-body forms ``spline``, ``buckingham``, ``lennard`` (A and B, or epsilon and sigma), ``morse`` and
``general``, in eV, kcal or kJ/mol, with ``energy`` offsets, and the charges of ``species``; comments, line
continuation, words shortened to four letters and Fortran's exponents as in GULP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ase.data import atomic_numbers, chemical_symbols

from aiida_fuse2.core.errors import InputError

from .forms import Buckingham, Form, General, LennardJones, Morse, Shifted, Spline
from .library import PairLibrary, PairTerm, ordered_pair

KCAL = 4.3364432032e-2
"""eV per kcal/mol in GULP (topic ``units`` of its help file)."""

KJMOL = KCAL / 4.184
"""eV per kJ/mol: thermochemical calories."""

MAX_LINES = 2_000_000
"""Largest number of lines of a library that is read: thousands of tables of hundreds of points."""

MAX_DISTANCE = 1000.0
"""Largest distance in a library, Å."""

MAX_EXPONENT = 50
"""Largest exponent of a distance."""

LEAST_WORD = 4
"""Number of letters of a word that GULP reads."""

FORMS = ("spline", "buckingham", "lennard_jones", "morse", "general")
"""Forms that are read."""

_BONDED = ("bond", "x12", "x13", "x14", "mol", "o14", "g14", "intra", "inter", "scale14")
"""Words about molecules, which searches do not have."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?")


@dataclass(frozen=True)
class _Line:
    """Words of a line of the library, and the number of the line for messages."""

    number: int
    words: tuple[str, ...]


class _Lines:
    """The lines of a library that are not empty, with one line of look-ahead."""

    def __init__(self, text: str, where: str) -> None:
        self.where = where
        self._lines = list(_joined(text))
        self._position = 0
        if len(self._lines) > MAX_LINES:
            raise InputError(where, f"{len(self._lines)} lines", f"at most {MAX_LINES} are read")

    def peek(self) -> _Line | None:
        """Return the next line without taking it, or None at the end."""
        return self._lines[self._position] if self._position < len(self._lines) else None

    def take(self) -> _Line:
        """Return the next line."""
        line = self._lines[self._position]
        self._position += 1
        return line

    def error(self, line: _Line, expected: str) -> InputError:
        """Return an error about a line."""
        return InputError(f"{self.where}, line {line.number}", " ".join(line.words), expected)


def _joined(text: str) -> Iterator[_Line]:
    """Yield the words of each line, without comments, continued lines joined."""
    words: list[str] = []
    start = 0
    for number, raw in enumerate(text.splitlines(), start=1):
        found = raw.split("#", 1)[0].split()
        start = start or number
        continues = bool(found) and found[-1].endswith("&")
        if continues:
            found[-1] = found[-1][:-1]
        words += [word for word in found if word]
        if not continues:
            if words:
                yield _Line(start, tuple(words))
            words, start = [], 0
    if words:
        yield _Line(start, tuple(words))


def _is_number(word: str) -> bool:
    return _NUMBER.fullmatch(word) is not None


def _to_number(word: str) -> float:
    return float(word.lower().replace("d", "e"))


def _means(word: str, full: str) -> bool:
    """Return whether a word stands for a longer one, as in GULP: shortened to four letters or more."""
    return len(word) >= min(LEAST_WORD, len(full)) and full.startswith(word.lower())


def read_library(text: str, *, where: str = "potential") -> PairLibrary:
    """Return the library of a text.

    Args:
        text: in the format of GULP.
        where: name of the input, for messages.

    Raises:
        InputError: if a line is not understood, with its number.
    """
    lines = _Lines(text, where)
    terms: list[PairTerm] = []
    charges: dict[str, float] = {}
    while (line := lines.peek()) is not None:
        lines.take()
        word = line.words[0]
        if _means(word, "species"):
            charges |= _read_charges(line, lines)
        elif _means(word, "end"):
            continue
        else:
            terms += _read_form(line, lines)
    if not terms:
        raise InputError(where, text[:40], f"holds no potential; the supported forms are {', '.join(FORMS)}")
    return PairLibrary(tuple(terms), charges)


# --- atoms ------------------------------------------------------------------------------------------


def _element(word: str, line: _Line, lines: _Lines) -> str:
    """Return the element of a symbol or an atomic number."""
    if word.isdigit() and 0 < int(word) < len(chemical_symbols):
        return str(chemical_symbols[int(word)])
    symbol = word.capitalize()
    if symbol in atomic_numbers and symbol != "X":
        return symbol
    raise lines.error(
        line, f"{word!r} is not an element; species with numbers (O2) and wildcards (X) are not supported"
    )


def _read_atoms(line: _Line, lines: _Lines, number: int) -> tuple[list[str], list[str]]:
    """Return the elements at the beginning of a line, and the words after them."""
    words = list(line.words)
    elements = []
    for _ in range(number):
        if not words:
            raise lines.error(line, f"must begin with {number} elements, e.g. 'Ca core O core'")
        elements.append(_element(words.pop(0), line, lines))
        if words and _means(words[0], "shell"):
            raise lines.error(line, "shells are not supported: searches have atoms only")
        if words and _means(words[0], "core"):
            words.pop(0)
    return elements, words


def _numbers(words: Sequence[str], line: _Line, lines: _Lines) -> list[float]:
    """Return words as numbers."""
    for word in words:
        if not _is_number(word):
            raise lines.error(line, f"{word!r} is not a number")
    return [_to_number(word) for word in words]


def _read_charges(head: _Line, lines: _Lines) -> dict[str, float]:
    """Return the charges of ``species``, whose lines continue as long as they look like those of a species."""
    charges: dict[str, float] = {}
    wanted = int(head.words[1]) if len(head.words) > 1 and head.words[1].isdigit() else None
    while (line := lines.peek()) is not None and (wanted is None or len(charges) < wanted):
        is_species = len(line.words) in {2, 3} and _is_number(line.words[-1])
        if not is_species or line.words[0].capitalize() not in atomic_numbers:
            break
        lines.take()
        (element,), rest = _read_atoms(line, lines, 1)
        values = _numbers(rest, line, lines)
        if len(values) != 1:
            raise lines.error(line, "must be an element and its charge, e.g. 'Ca core 2.0'")
        charges[element] = values[0]
    return charges


# --- forms ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Head:
    """The content of the line that names a form: its options, as words and whole numbers."""

    form: str
    options: frozenset[str]
    exponents: tuple[int, ...]
    unit: float


_OPTIONS = {
    "spline": ("cubic", "reverse"),
    "buckingham": ("energy",),
    "lennard_jones": ("energy", "epsilon", "zero"),
    "morse": ("energy",),
    "general": ("energy",),
}


def _read_head(line: _Line, lines: _Lines) -> _Head:
    """Return the content of the line that names a form."""
    form = next((name for name in FORMS if _means(line.words[0], name)), None)
    if form is None:
        raise lines.error(line, f"{line.words[0]!r} is not a supported form: {', '.join(FORMS)}")
    options: set[str] = set()
    exponents: list[int] = []
    unit = 1.0
    for word in line.words[1:]:
        known = next((option for option in _OPTIONS[form] if _means(word, option)), None)
        if known is not None:
            options.add(known)
        elif word.isdigit() and form in {"lennard_jones", "general"} and int(word) <= MAX_EXPONENT:
            exponents.append(int(word))
        elif _means(word, "kcal"):
            unit = KCAL
        elif _means(word, "kjmol"):
            unit = KJMOL
        elif word.lower() in _BONDED:
            raise lines.error(line, f"{word!r} is about molecules, which are not supported")
        else:
            raise lines.error(line, f"the option {word!r} of {form} is not supported")
    if len(exponents) not in {0, 2}:
        raise lines.error(line, "give both exponents or none")
    return _Head(form, frozenset(options), tuple(exponents), unit)


def _read_form(line: _Line, lines: _Lines) -> list[PairTerm]:
    """Return the terms below the line that names their form."""
    head = _read_head(line, lines)
    terms: list[PairTerm] = []
    while (following := lines.peek()) is not None and _begins_with_atom(following):
        lines.take()
        terms.append(
            _read_spline(head, following, lines) if head.form == "spline" else _read_term(head, following, lines)
        )
    if not terms:
        raise lines.error(line, "must be followed by a line that begins with two elements")
    return terms


def _begins_with_atom(line: _Line) -> bool:
    """Return whether a line begins with an element or an atomic number, and continues like a line of a form."""
    first = line.words[0]
    if first.capitalize() in atomic_numbers:
        return len(line.words) > 2
    is_form = any(_means(first, name) for name in (*FORMS, "species", "end"))
    return not is_form and len(line.words) > 2 and (first.isdigit() or not _is_number(first))


def _without_flags(words: list[str], least: int, most: int) -> list[str]:
    """Return words without the flags for fitting (0 or 1) at their end.

    A cutoff of 0 or 1 Å that is written without a point does not occur; a line may have only two numbers.
    """
    kept = list(words)
    while len(kept) > least and kept[-1] in {"0", "1"}:
        kept.pop()
    return kept if len(kept) <= most else words


def _range(values: Sequence[float], line: _Line, lines: _Lines) -> tuple[float, float]:
    """Return the least and the largest distance from the one or two numbers at the end of a line."""
    rmin, rmax = (0.0, values[0]) if len(values) == 1 else (values[0], values[1])
    if not 0 <= rmin < rmax <= MAX_DISTANCE:
        raise lines.error(line, f"acts from {rmin:g} to {rmax:g} Å: must rise and end below {MAX_DISTANCE:g}")
    return rmin, rmax


_COLUMNS = {"buckingham": "A rho C", "lennard_jones": "A B", "morse": "De a r0", "general": "A rho C"}


def _read_term(head: _Head, line: _Line, lines: _Lines) -> PairTerm:
    """Return the term of a line of one of the analytic forms."""
    elements, words = _read_atoms(line, lines, 2)
    columns = _COLUMNS[head.form]
    count = len(columns.split())
    most = count + (3 if head.form == "morse" else 2)
    values = _numbers(_without_flags(words, count + 1, most), line, lines)
    if not count + 1 <= len(values) <= most:
        raise lines.error(line, f"{head.form} takes {columns}, then <rmin> rmax; {len(values)} numbers are given")
    parameters, rest = values[:count], values[count:]
    # of two numbers after a Morse potential the first is coul: rmin is what may be omitted
    if head.form == "morse" and len(rest) > 1 and rest.pop(0) != 0:
        raise lines.error(line, "a subtracted Coulomb term is not supported: the engine has no electrostatics")
    form = _analytic(head, parameters, line, lines)
    rmin, rmax = _range(rest, line, lines)
    return PairTerm(ordered_pair(*elements), Shifted(form, rmax) if "energy" in head.options else form, rmin, rmax)


def _analytic(head: _Head, values: list[float], line: _Line, lines: _Lines) -> Form:
    """Return an analytic form from its parameters in GULP's order and units."""
    unit = head.unit
    if head.form == "lennard_jones":
        return _lennard_jones(head, values, line, lines)
    if head.form == "morse":
        return Morse(values[0] * unit, values[1], values[2])
    if head.form == "buckingham":
        if values[1] <= 0:
            raise lines.error(line, f"rho = {values[1]:g} must be above 0")
        return Buckingham(values[0] * unit, values[1], values[2] * unit)
    m, n = head.exponents or (0, 6)
    if values[1] < 0:
        raise lines.error(line, f"rho = {values[1]:g} must not be below 0")
    return General(values[0] * unit, values[1], values[2] * unit, m, n)


def _lennard_jones(head: _Head, values: list[float], line: _Line, lines: _Lines) -> LennardJones:
    """Return a Lennard-Jones form from A and B, or from epsilon and sigma (topic ``lennard`` of the help file)."""
    m, n = head.exponents or (12, 6)
    first, second = values[0] * head.unit, values[1]
    if "epsilon" not in head.options:
        return LennardJones(first, second * head.unit, m, n)
    if m <= n or n == 0 or second <= 0:
        raise lines.error(line, "epsilon and sigma need exponents m > n > 0 and sigma above 0")
    c1, c2 = n / (m - n), m / (m - n)
    if "zero" in head.options:  # at sigma the energy is zero, not smallest
        c1, c2 = c1 * (m / n) ** (m / (m - n)), c2 * (m / n) ** (n / (m - n))
    return LennardJones(first * c1 * second**m, first * c2 * second**n, m, n)


def _read_spline(head: _Head, line: _Line, lines: _Lines) -> PairTerm:
    """Return the term of a table: ``atom1 atom2 <shift> <rmin> rmax``, then an energy and a distance per line."""
    elements, words = _read_atoms(line, lines, 2)
    numbers = _numbers(_without_flags(words, 1, 3), line, lines)
    if not 1 <= len(numbers) <= 3:
        raise lines.error(line, f"spline takes <shift> <rmin> rmax; {len(numbers)} numbers are given")
    if len(numbers) > 1 and numbers[0] != 0:
        raise lines.error(
            line, "must be '0.0 rmin rmax' or 'rmax': what a shift does to the energy is not in GULP's help file"
        )
    rmin, rmax = _range(numbers[1:] if len(numbers) == 3 else numbers[-1:], line, lines)
    energies, distances = _read_table(head, line, lines)
    gap = rmax - distances[-1]
    if gap > distances[-1] - distances[-2]:
        raise lines.error(line, f"acts up to {rmax:g} Å, but the table ends at {distances[-1]:g} Å")
    return PairTerm(
        ordered_pair(*elements), Spline(tuple(distances), tuple(energies), "cubic" in head.options), rmin, rmax
    )


def _read_table(head: _Head, line: _Line, lines: _Lines) -> tuple[list[float], list[float]]:
    """Return energies (eV) and distances (Å) of the lines of two numbers that follow."""
    rows: list[tuple[float, float]] = []
    while (following := lines.peek()) is not None and len(following.words) == 2:
        if not all(_is_number(word) for word in following.words):
            break
        lines.take()
        first, second = (_to_number(word) for word in following.words)
        energy, distance = (second, first) if "reverse" in head.options else (first, second)
        if rows and distance <= rows[-1][1]:
            expected = "distances must rise; each line is an energy and a distance, or the reverse with 'reverse'"
            raise lines.error(following, expected)
        rows.append((energy * head.unit, distance))
    if len(rows) < 2:
        raise lines.error(line, "must be followed by at least two lines of an energy and a distance")
    if rows[0][1] < 0 or rows[-1][1] > MAX_DISTANCE:
        raise lines.error(line, f"distances must lie between 0 and {MAX_DISTANCE:g} Å")
    return [energy for energy, _ in rows], [distance for _, distance in rows]
