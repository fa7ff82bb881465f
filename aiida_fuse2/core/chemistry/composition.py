"""Compositions and formula units."""

from __future__ import annotations

import contextlib
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import gcd, lcm

from ase import Atoms
from ase.data import atomic_numbers

from aiida_fuse2.core.errors import InputError

MAX_FORMULA_LENGTH = 200
"""Longest text that is accepted as a formula; a longer one is an error."""

MAX_COUNT = 10_000
"""Largest number of atoms that a formula may count: ten of the largest cells."""

MAX_PROPOSED = 100
"""Largest number of atoms of a formula that is proposed in place of one with decimal numbers."""

_COUNT = r"(\d+(?:[.,/]\d*)?|[.,]\d+)?"
_TOKEN = re.compile(rf"\s*(?:([A-Z][a-z]?){_COUNT}|([(\[{{])|([)\]}}]){_COUNT})", re.ASCII)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_DOTS = re.compile("[\u00b7\u2022\u2027\u2219\u22c5]")
"""Dots between the parts of a hydrate; a full stop belongs to a decimal number."""

_SUBSCRIPTS = str.maketrans({chr(0x2080 + digit): str(digit) for digit in range(10)})

_EXAMPLE = "write e.g. 'Ca3Ti2O7'"
_NO_CHARGE = "counts have no sign, a formula no charges (settings.oxidation_states has, e.g. {Ti: 4, O: -2}) and no -x"
_WHOLE = "numbers of atoms must be whole (a hydrate is written CaSO4(H2O)2)"
_HINTS = {
    **dict.fromkeys(".,/", _WHOLE),
    **dict.fromkeys("+-\u2212\u207a\u207b", _NO_CHARGE),
    **dict.fromkeys("0123456789", "a number of atoms follows its element or bracket, without a blank"),
    **dict.fromkeys(
        "\u00b9\u00b2\u00b3\u2070\u2074\u2075\u2076\u2077\u2078\u2079", "a formula has no charges and no isotopes"
    ),
    **dict.fromkeys("xyz\u03b4", "a number must stand for every variable"),
}
"""Hints for characters that people write in formulas."""

_ISOTOPES = {"D": "deuterium", "T": "tritium"}

_TYPED_WRONG = (
    (r"(?<![0-9)\]}\u00b7])0", "O"),
    (r"(?<=[0-9])0(?=[0-9])", "O"),
    (r"(?<=[A-Za-z][1-9])0(?![0-9])", "O"),
)
"""Positions where the letter O may have been meant by a zero, the likeliest first."""

_SIMPLEST_FRACTION, _NEAR_FRACTION = 12, 0.005
"""A decimal number within the second of a fraction whose denominator is at most the first is read as this fraction in
the proposed formula."""

_SYMBOLS = sorted((symbol for symbol in atomic_numbers if symbol != "X"), key=len, reverse=True)


@dataclass(frozen=True)
class FormulaUnit:
    """A formula unit: elements with whole numbers of atoms that share no divisor.

    Attributes:
        counts: (element symbol, number of atoms) in the order of the formula.
    """

    counts: tuple[tuple[str, int], ...]

    @property
    def formula(self) -> str:
        """The formula, such as ``Ca3Ti2O7``."""
        return "".join(f"{symbol}{number if number > 1 else ''}" for symbol, number in self.counts)

    @property
    def description(self) -> str:
        """The composition for people: ``Sr1 Ti1 O3, formula unit of 5 atoms``."""
        counts = " ".join(f"{symbol}{number}" for symbol, number in self.counts)
        return f"{counts}, formula unit of {self.n_atoms} atom{'' if self.n_atoms == 1 else 's'}"

    @property
    def elements(self) -> tuple[str, ...]:
        """Element symbols in the order of the formula."""
        return tuple(symbol for symbol, _ in self.counts)

    @property
    def n_atoms(self) -> int:
        """Number of atoms of one formula unit."""
        return sum(number for _, number in self.counts)

    @property
    def is_element(self) -> bool:
        """Whether there is only one element."""
        return len(self.counts) == 1

    def as_dict(self) -> dict[str, int]:
        """Return the number of atoms by element."""
        return dict(self.counts)

    def symbols(self, z: int) -> list[str]:
        """Return the element symbols of ``z`` formula units, element by element."""
        return [symbol for symbol, number in self.counts for _ in range(z * number)]

    def z_values(self, max_atoms: int, min_atoms: int = 1) -> list[int]:
        """Return the numbers of formula units whose atoms lie in ``min_atoms`` to ``max_atoms``."""
        return [z for z in range(1, max_atoms // self.n_atoms + 1) if z * self.n_atoms >= min_atoms]

    def z_of(self, atoms: Atoms) -> int | None:
        """Return the number of formula units in ``atoms``, or None if the composition differs."""
        found = Counter(atoms.get_chemical_symbols())
        if set(found) != set(self.elements):
            return None
        z, rest = divmod(len(atoms), self.n_atoms)
        if rest or any(found[symbol] != z * number for symbol, number in self.counts):
            return None
        return z


def _count(text: str | None, of: str) -> int:
    """Return a count as it is written; raise ValueError with the reason if it is wrong."""
    if text is None:
        return 1
    if not text.isdecimal():
        raise ValueError(f"cannot read {of + text!r}; {_WHOLE}")
    if text.strip("0") == "":
        raise ValueError(f"{of + text!r} counts no atom; every count must be above 0")
    if text[0] == "0":
        raise ValueError(f"{of + text!r}: no count begins with 0")
    return int(text)


def _count_atoms(text: str) -> Counter[str]:
    """Count the atoms of a formula with brackets; raise ValueError with the reason if it is wrong."""
    stack: list[Counter[str]] = [Counter()]
    opened: list[str] = []
    written: dict[str, str | None] = {}
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(_unreadable(text[position:].strip()))
        symbol, number, opening, closing, times = match.groups()
        if symbol:
            if symbol not in _SYMBOLS:
                raise ValueError(_no_element(symbol))
            written[symbol] = number
            stack[-1][symbol] += _count(number, symbol)
        elif opening:
            stack.append(Counter())
            opened.append(_CLOSING[opening])
        elif not opened or closing != opened.pop():
            raise ValueError(f"the closing bracket {closing!r} has no opening one")
        else:
            group, factor = stack.pop(), _count(times, closing)
            if not group:
                raise ValueError("there is nothing between two brackets")
            stack[-1].update({inner: count * factor for inner, count in group.items()})
        position = match.end()
    if opened:
        raise ValueError("an opening bracket is not closed")
    _check_plausible(stack[0], written)
    return stack[0]


def _unreadable(rest: str) -> str:
    """Return why the rest of a formula cannot be read."""
    first = rest[0]
    if not first.isascii() and first not in _HINTS:
        return f"cannot read {rest!r}; {first!r} is {unicodedata.name(first, 'a character without a name')}"
    hint = "symbols of elements begin with a capital letter" if first.islower() else _EXAMPLE
    return f"cannot read {rest!r}; {_HINTS.get(first, hint)}"


def _no_element(symbol: str) -> str:
    if symbol in _ISOTOPES:
        return f"{symbol!r} is {_ISOTOPES[symbol]}, and isotopes are not distinguished: write H"
    return f"{symbol!r} is not an element; {_EXAMPLE}"


def _check_plausible(counts: Mapping[str, int], written: Mapping[str, str | None]) -> None:
    """Raise ValueError for counts that are probably typing errors: a zero for the letter O, or a one for an l.

    Args:
        counts: counts of all atoms.
        written: the last count of each element as it is written.
    """
    for symbol, number in written.items():
        has_zero = "0" in (number or "")
        if has_zero and len(counts) == 1:
            raise ValueError(f"{number} atoms of one element; write {symbol!r} for the element")
        if has_zero and len(str(number)) > 2 and "O" not in counts:  # Ca3Ti207
            raise ValueError(f"{number} atoms of {symbol}, and no oxygen")
        if number == "1" and symbol == "C" and None in written.values():  # NaC1
            raise ValueError("'C1' beside elements without a count; write C")


def _count_parts(text: str) -> Counter[str]:
    """Count the atoms of a formula, or of the parts of a hydrate such as ``CaSO4·2H2O``; raise ValueError as above."""
    total: Counter[str] = Counter()
    for place, part in enumerate(_DOTS.split(" ".join(text.translate(_SUBSCRIPTS).split()))):
        rest = part if place == 0 else part.lstrip(" 0123456789.,/")
        number = part[: len(part) - len(rest)].strip()
        if not rest.strip():
            raise ValueError("a part of the formula is empty")
        factor = _count(number or None, "\u00b7")
        total.update({symbol: count * factor for symbol, count in _count_atoms(rest).items()})
    return total


def _suggestion(text: str) -> str:
    """Return what a formula that cannot be read may mean, as a question, or an empty text."""
    plain = text.translate(_SUBSCRIPTS).strip()
    candidates = [re.sub(r"\.(?=[0-9]*H2O$)", "\u00b7", plain), re.sub(r"^[0-9]+", "", plain)]
    if re.search("[.,/]", plain):
        candidates.append(_with_whole_numbers(plain))
    for base in (plain, re.sub(r"(?<=[ACT])1", "l", plain)):
        candidates.append(base)
        for pattern, letter in _TYPED_WRONG:
            candidates.append(re.sub(pattern, letter, candidates[-1]))
    candidates.append(re.sub(r"(?<![0-9])0+(?=[1-9])", "", plain))
    candidates.append(re.sub("|".join(_SYMBOLS), lambda match: match[0].title(), plain, flags=re.IGNORECASE))
    for candidate in dict.fromkeys(candidates):
        with contextlib.suppress(ValueError):
            is_new = candidate != plain and "OO" not in candidate
            if is_new and sum(_count_parts(candidate).values()) <= MAX_COUNT:
                return f"; did you mean {candidate}?"
    return ""


def _with_whole_numbers(text: str) -> str:
    """Return a formula with its decimal numbers multiplied to whole ones; unchanged if these would be large.

    Only for a formula without brackets.
    """
    found = re.findall(r"([A-Z][a-z]?)(\d*(?:[.,/]\d*)?)", text, re.ASCII)
    if "".join(symbol + number for symbol, number in found) != text:
        return text
    try:
        exact = [Fraction((number or "1").replace(",", ".").rstrip(".")) for _, number in found]
    except (ValueError, ZeroDivisionError):
        return text
    simple = [number.limit_denominator(_SIMPLEST_FRACTION) for number in exact]
    for numbers in (simple, exact):
        factor = lcm(*(number.denominator for number in numbers))
        counts = [int(number * factor) for number in numbers]
        is_near = all(abs(a - b) < _NEAR_FRACTION for a, b in zip(numbers, exact, strict=True))
        if is_near and min(counts) > 0 and sum(counts) <= MAX_PROPOSED:
            divisor = gcd(*counts)
            parts = zip((symbol for symbol, _ in found), (count // divisor for count in counts), strict=True)
            return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in parts)
    return text


def formula_unit(counts: Mapping[str, int]) -> FormulaUnit:
    """Return the formula unit of atom counts, divided by their greatest common divisor.

    Raises:
        InputError: if there is no atom, or a count below one.
    """
    if not counts or any(number < 1 for number in counts.values()):
        raise InputError("composition", dict(counts), "every element needs a whole number of atoms above 0")
    divisor = reduce(gcd, counts.values())
    return FormulaUnit(tuple((symbol, number // divisor) for symbol, number in counts.items()))


def parse_composition(text: str) -> FormulaUnit:
    """Read a formula such as ``SrTiO3``, ``Ca3Al2(SiO4)3``, ``SrTiO₃`` or ``CaSO4·2H2O``.

    A multiple of a formula unit is divided by its greatest common divisor, with a warning: ``Li2O2``
    becomes ``LiO``. (pymatgen's reduced formula keeps Li2O2, O2 and some others.)

    Raises:
        InputError: if the text is not a formula of known elements with whole numbers as a chemist writes them, or
            is too large; the message says what was meant, if that can be guessed.
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError("composition", text, "must be a formula, e.g. 'SrTiO3'")
    if len(text) > MAX_FORMULA_LENGTH:
        raise InputError("composition", text[:20] + "…", f"longer than {MAX_FORMULA_LENGTH} characters")
    try:
        counts = _count_parts(text)
        total = sum(counts.values())
        if total > MAX_COUNT:
            raise ValueError(f"counts more than {MAX_COUNT} atoms; write the smallest formula")
    except ValueError as error:
        raise InputError("composition", text, f"{error}{_suggestion(text)}") from None
    unit = formula_unit(counts)
    if total != unit.n_atoms:
        warnings.warn(
            f"composition {text.strip()} is {total // unit.n_atoms} x {unit.formula}: searching {unit.formula}; "
            "the numbers of formula units in the cell are part of the search",
            UserWarning,
            stacklevel=2,
        )
    return unit
