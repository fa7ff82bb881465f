"""Compositions and formula units."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from math import gcd

from ase import Atoms
from ase.data import atomic_numbers

from .errors import InputError

MAX_FORMULA_LENGTH = 200
"""Longest text taken for a formula; anything longer is an error rather than a long parse."""

MAX_COUNT = 10_000
"""Most atoms that a formula may count: ten of the largest cells."""

_TOKEN = re.compile(r"([A-Z][a-z]?)([0-9]*)|(\()|(\))([0-9]*)")

_HINTS = {
    ".": "numbers of atoms must be whole: multiply the formula, e.g. 'Li0.5CoO2' by 2",
    "+": "a formula has no charges; give settings.oxidation_states, e.g. {Sr: 2, Ti: 4, O: -2}",
}
_HINTS["-"] = _HINTS["+"]
"""What to say of a character that people write in formulas."""


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
        """Return the number of formula units in ``atoms``, or None where the composition differs."""
        found = Counter(atoms.get_chemical_symbols())
        if set(found) != set(self.elements):
            return None
        z, rest = divmod(len(atoms), self.n_atoms)
        if rest or any(found[symbol] != z * number for symbol, number in self.counts):
            return None
        return z


def _add(target: Counter[str], symbol: str, number: int) -> None:
    target[symbol] = target.get(symbol, 0) + number


def _count_atoms(text: str) -> Counter[str]:
    """Count the atoms of a formula with brackets; raise InputError where it is not one."""
    stack: list[Counter[str]] = [Counter()]
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            hint = _HINTS.get(text[position], "write e.g. 'Ca3Ti2O7'")
            raise InputError("composition", text, f"cannot read {text[position:]!r}; {hint}")
        symbol, number, opening, closing, times = match.groups()
        if symbol:
            if symbol not in atomic_numbers or symbol == "X":
                raise InputError("composition", text, f"{symbol!r} is not an element; write e.g. 'Ca3Ti2O7'")
            _add(stack[-1], symbol, int(number or 1))
        elif opening:
            stack.append(Counter())
        elif closing:
            if len(stack) == 1:
                raise InputError("composition", text, "a closing bracket has no opening one")
            group = stack.pop()
            for inner, count in group.items():
                _add(stack[-1], inner, count * int(times or 1))
        position = match.end()
    if len(stack) != 1:
        raise InputError("composition", text, "an opening bracket is not closed")
    return stack[0]


def formula_unit(counts: Mapping[str, int]) -> FormulaUnit:
    """Return the formula unit of atom counts, divided by their greatest common divisor.

    Raises:
        InputError: where there is no atom, or a count below one.
    """
    if not counts or any(number < 1 for number in counts.values()):
        raise InputError("composition", dict(counts), "every element needs a whole number of atoms above 0")
    divisor = reduce(gcd, counts.values())
    return FormulaUnit(tuple((symbol, number // divisor) for symbol, number in counts.items()))


def parse_composition(text: str) -> FormulaUnit:
    """Read a formula such as ``SrTiO3`` or ``Ca3Al2(SiO4)3``.

    A formula that is a multiple is divided by its greatest common divisor, with a warning: ``Li2O2``
    becomes ``LiO``. (pymatgen's reduced formula keeps Li2O2, O2 and some others.)

    Raises:
        InputError: where the text is not a formula of known elements with whole numbers, or is too large.
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError("composition", text, "must be a formula, e.g. 'SrTiO3'")
    if len(text) > MAX_FORMULA_LENGTH:
        raise InputError("composition", text[:20] + "…", f"longer than {MAX_FORMULA_LENGTH} characters")
    compact = "".join(text.split())
    counts = _count_atoms(compact)
    if not counts or min(counts.values()) < 1:
        raise InputError("composition", text, "every element needs a whole number of atoms above 0")
    total = sum(counts.values())
    if total > MAX_COUNT:
        raise InputError("composition", text, f"counts more than {MAX_COUNT} atoms; write the smallest formula")
    unit = formula_unit(counts)
    if total != unit.n_atoms:
        warnings.warn(
            f"composition {compact} is {total // unit.n_atoms} x {unit.formula}: searching {unit.formula}; "
            "the numbers of formula units in the cell are part of the search",
            UserWarning,
            stacklevel=2,
        )
    return unit
