"""Compositions, seeds and settings as the arguments of the commands of benchmarks give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.protocols import merge

MAX_SEEDS = 1000
"""Largest number of seeds of a benchmark."""

MAX_DIGITS = 19
"""Largest number of digits of a number; seeds have at most so many."""


def expand(assignments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return all combinations of settings that are to be compared.

    Args:
        assignments: nested inputs, each with a list of values at its end.

    Raises:
        InputError: if there is no list of values.
    """
    combined: list[dict[str, Any]] = [{}]
    for assignment in assignments:
        path, values = _leaf(assignment)
        if not isinstance(values, list) or not values:
            shown = f"{'.'.join(path)}={values}"
            raise InputError("--vary", shown, "must be KEY=[VALUE, VALUE, ...], e.g. settings.walkers=[4, 8]")
        combined = [merge(known, _nest(path, value)) for known in combined for value in values]
    return combined


def _leaf(assignment: Mapping[str, Any]) -> tuple[list[str], Any]:
    path: list[str] = []
    value: Any = assignment
    while isinstance(value, Mapping) and len(value) == 1:
        key = next(iter(value))
        path.append(str(key))
        value = value[key]
    return path, value


def _nest(path: Sequence[str], value: Any) -> dict[str, Any]:
    nested = value
    for key in reversed(path):
        nested = {key: nested}
    return dict(nested)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS


def parse_numbers(text: str) -> list[int]:
    """Return the seeds of a text such as ``1-3,7``.

    Raises:
        InputError: if the text contains anything else, or too many seeds.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not _is_number(first) or (dash and not _is_number(last)):
            raise InputError("--seeds", text, "must be whole numbers and ranges, e.g. 1-3,7")
        numbers = range(int(first), int(last or first) + 1)
        if not numbers or len(found) + len(numbers) > MAX_SEEDS:
            raise InputError("--seeds", text, f"must be ascending ranges, at most {MAX_SEEDS} seeds in all")
        found.extend(numbers)
    return list(dict.fromkeys(found))


def parse_place(text: str) -> tuple[str, int | None]:
    """Return formula and largest number of atoms of ``SrTiO3:20``; None if only the formula is given.

    Raises:
        InputError: if it is neither.
    """
    formula, colon, atoms = text.partition(":")
    if colon and not _is_number(atoms):
        raise InputError("COMPOSITION", text, "must be a formula, or a formula and the most atoms, e.g. SrTiO3:20")
    return parse_composition(formula).formula, int(atoms) if colon else None
