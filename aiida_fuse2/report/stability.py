"""What a hull says about a phase, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from aiida_fuse2.core.chemistry.composition import parse_composition

from .hull import Hull, HullRow, lowest_mixture

LARGEST_DENOMINATOR = 12
"""Of amounts that are written as fractions."""

EXACT = 1e-4
"""Difference of an amount from a fraction, relative to one formula unit."""

SMALLEST = 1e-4
"""Amount that is not written, formula units."""


def stability_text(hull: Hull, formula: str) -> str:
    """Return whether a phase is stable, against what, and what it would become, as a sentence.

    Args:
        hull: the hull.
        formula: formula of one of its phases.
    """
    row = next(row for row in hull.rows if row.formula == formula)
    others = [other for other in hull.rows if other.formula != formula and not _has_more(other, row)]
    names = ", ".join(other.formula for other in others)
    if not row.is_stable:
        reaction = _reaction(row, row.decomposition)
        return (
            f"{formula} is {1000 * row.above:.0f} meV/atom above the hull: it would decompose into {reaction}. "
            f"Compared with {names}"
        )
    if len(parse_composition(formula).elements) == 1 or not others:
        return f"{formula} is an end of the hull, to which nothing is compared"
    found = _without(row, others)
    if found is None:
        return f"{formula} is stable, but no mixture of the others has its composition: {names}"
    margin, mixture = found
    return f"{formula} is stable against {names}; it is {1000 * margin:.0f} meV/atom below {_reaction(row, mixture)}"


def _has_more(other: HullRow, row: HullRow) -> bool:
    """Return whether a phase has an element that another one lacks."""
    return not set(parse_composition(other.formula).elements) <= set(parse_composition(row.formula).elements)


def _without(row: HullRow, others: Sequence[HullRow]) -> tuple[float, dict[str, float]] | None:
    """Return how far a phase is below the best mixture of others (eV/atom), and the mixture; None if there is none."""
    elements = parse_composition(row.formula).elements
    fractions = np.array([_fractions(other.formula, elements) for other in others])
    energies = np.array([other.energy for other in others])
    parts = lowest_mixture(fractions, energies, np.array(_fractions(row.formula, elements)))
    if parts is None:
        return None
    mixture = {other.formula: float(part) for other, part in zip(others, parts, strict=True)}
    return float(parts @ energies) - row.energy, mixture


def _fractions(formula: str, elements: Sequence[str]) -> list[float]:
    unit = parse_composition(formula)
    return [unit.as_dict().get(element, 0) / unit.n_atoms for element in elements]


def _reaction(row: HullRow, mixture: Mapping[str, float]) -> str:
    """Return a mixture as formula units for one formula unit of a phase.

    Args:
        row: the phase.
        mixture: moles of atoms of each other phase for one mole of its atoms.
    """
    own = parse_composition(row.formula).n_atoms
    amounts = {name: part * own / parse_composition(name).n_atoms for name, part in mixture.items()}
    return " + ".join(f"{_amount(value)}{name}" for name, value in sorted(amounts.items()) if value > SMALLEST)


def _amount(value: float) -> str:
    simple = Fraction(value).limit_denominator(LARGEST_DENOMINATOR)
    if abs(float(simple) - value) > EXACT:
        return f"{value:.3f} "
    return "" if simple == 1 else f"{simple} "
