"""Convex hull over the lowest structures of several compositions, without AiiDA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog, nnls

from aiida_fuse2.core.chemistry.composition import FormulaUnit, parse_composition
from aiida_fuse2.core.errors import Fuse2Error, InputError

NEGLIGIBLE = 1e-6
"""Part of a phase in a mixture, or residue of a composition, that counts as zero."""


INFEASIBLE = 2
"""Status of scipy's linear programme without a solution."""


class HullError(Fuse2Error):
    """The hull could not be computed."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A composition and the lowest energy that was found for it.

    Attributes:
        unit: formula unit.
        energy: eV/atom.
        search: primary key of the search that found it.
    """

    unit: FormulaUnit
    energy: float
    search: int


@dataclass(frozen=True, kw_only=True)
class HullRow:
    """A phase compared with the others.

    Attributes:
        formula: formula of the phase.
        search: primary key of the search.
        energy: eV/atom.
        formation: energy of formation from the end members, eV/atom, or None if there are none.
        above: energy above the hull, eV/atom; 0 for a stable phase.
        decomposition: moles of atoms of each phase that one mole of atoms becomes; the phase itself if stable.
        parts: share of each end member in its atoms, in the order of the end members.
    """

    formula: str
    search: int
    energy: float
    formation: float | None
    above: float
    decomposition: Mapping[str, float]
    parts: tuple[float, ...] = ()

    @property
    def is_stable(self) -> bool:
        """Whether no mixture of other phases is lower."""
        return set(self.decomposition) == {self.formula}

    @property
    def is_end(self) -> bool:
        """Whether it is an end member."""
        return max(self.parts, default=0.0) > 1 - NEGLIGIBLE


@dataclass(frozen=True, kw_only=True)
class Hull:
    """Phases and their end members.

    Attributes:
        rows: the phases.
        ends: formulas of the end members.
        elements: elements of all phases.
    """

    rows: tuple[HullRow, ...]
    ends: tuple[str, ...]
    elements: tuple[str, ...]


def convex_hull(phases: Sequence[Phase], ends: Sequence[str] = ()) -> Hull:
    """Return each phase with its energy above the hull of all, and its energy of formation.

    The mixture of lowest energy with the composition of a phase is a linear programme. It needs no elements among
    the phases; a cut through a phase field, such as SrO and TiO2, is enough. But it needs references: without them each
    phase would be compared only with itself, and be stable.

    Args:
        phases: phases; the lowest of each composition is kept.
        ends: formulas of the end members that energies of formation refer to; they must be among the phases. The
            elements by default, if all are present; else, if three compositions or more lie on one line,
            its two ends.

    Raises:
        InputError: if there are no end members, one is not among the phases or a mixture of the others, or a phase
            is no mixture of them.
        HullError: if the linear programme fails.
    """
    lowest: dict[str, Phase] = {}
    for phase in phases:
        known = lowest.get(_key(phase.unit), phase)
        lowest[_key(phase.unit)] = phase if phase.energy < known.energy else known
    kept = list(lowest.values())
    elements = sorted({element for phase in kept for element in phase.unit.elements})
    fractions = np.array([[phase.unit.as_dict().get(e, 0) / phase.unit.n_atoms for e in elements] for phase in kept])
    energies = np.array([phase.energy for phase in kept])
    chosen = _ends(kept, ends, elements) or _ends_of_line(fractions)
    if not chosen:
        raise InputError("PK", [phase.unit.formula for phase in kept], _no_references(kept, elements))
    rows = []
    for phase, target, parts in zip(kept, fractions, _parts(kept, fractions, chosen), strict=True):
        mixture = lowest_mixture(fractions, energies, target)
        if mixture is None:
            raise HullError(f"the hull could not be computed: {phase.unit.formula} has no mixture")
        rows.append(
            HullRow(
                formula=phase.unit.formula,
                search=phase.search,
                energy=phase.energy,
                formation=float(phase.energy - parts @ energies[chosen]),
                parts=tuple(float(part) for part in parts),
                above=max(0.0, phase.energy - float(mixture @ energies)),
                decomposition={
                    other.unit.formula: float(part)
                    for other, part in zip(kept, mixture, strict=True)
                    if part > NEGLIGIBLE
                },
            )
        )
    return Hull(rows=tuple(rows), ends=tuple(kept[place].unit.formula for place in chosen), elements=tuple(elements))


def _key(unit: FormulaUnit) -> str:
    return " ".join(f"{element}{number}" for element, number in sorted(unit.counts))


def _ends(kept: Sequence[Phase], ends: Sequence[str], elements: Sequence[str]) -> list[int]:
    """Return the indices of the end members among the phases; none if elements are missing."""
    places = {_key(phase.unit): index for index, phase in enumerate(kept)}
    named = dict.fromkeys(_key(parse_composition(end)) for end in ends)
    wanted = list(named) or [f"{element}1" for element in elements]
    missing = [key for key in wanted if key not in places]
    if missing and ends:
        absent = next(end for end in ends if _key(parse_composition(end)) == missing[0])
        present = ", ".join(phase.unit.formula for phase in kept)
        raise InputError("end", absent, f"there is no search for it; there are {present}")
    return [] if missing else [places[key] for key in wanted]


def _no_references(kept: Sequence[Phase], elements: Sequence[str]) -> str:
    """Return which references are missing, and how to give them."""
    searched = {phase.unit.formula for phase in kept}
    missing = ", ".join(element for element in elements if element not in searched)
    return (
        f"there is no hull without references: search the elements that are missing, {missing}, too; or compositions "
        "that all the others are mixtures of, and name these with --end"
    )


def _ends_of_line(fractions: NDArray[np.float64]) -> list[int]:
    """Return the indices of the two outermost compositions if three or more lie on one line, else none."""
    if len(fractions) < 3:
        return []
    centred = fractions - fractions.mean(axis=0)
    if np.linalg.matrix_rank(centred, tol=NEGLIGIBLE) != 1:
        return []
    along = centred @ np.linalg.svd(centred)[2][0]
    return sorted([int(np.argmin(along)), int(np.argmax(along))])


def lowest_mixture(
    fractions: NDArray[np.float64], energies: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the part of each phase in the lowest mixture of a composition, shape (n,); None if none has it.

    Args:
        fractions: of each element in each phase, shape (n, elements).
        energies: of the phases, eV/atom, shape (n,).
        target: fractions of the elements in the composition, shape (elements,).

    Raises:
        HullError: if the linear programme fails.
    """
    found = linprog(energies - energies.max(), A_eq=fractions.T, b_eq=target, bounds=(0, None), method="highs")
    if found.status == INFEASIBLE:
        return None
    if not found.success:
        raise HullError(f"the hull could not be computed: {found.message}")
    mixture: NDArray[np.float64] = found.x
    return mixture


def _parts(kept: Sequence[Phase], fractions: NDArray[np.float64], chosen: Sequence[int]) -> list[NDArray[np.float64]]:
    """Return the part of each end member in each phase, in shares of its atoms; shape (n,) each.

    Raises:
        InputError: if an end member is a mixture of others, or a phase is none of them.
    """
    ends = fractions[chosen]
    names = [kept[place].unit.formula for place in chosen]
    if np.linalg.matrix_rank(ends, tol=NEGLIGIBLE) < len(ends):
        raise InputError("end", names, "one of them is a mixture of others: omit it")
    found = [nnls(ends.T, target) for target in fractions]
    outside = [phase.unit.formula for phase, (_, residue) in zip(kept, found, strict=True) if residue > NEGLIGIBLE]
    if outside:
        are = f"is no mixture of the end members {', '.join(names)}"
        expected = f"{are}: search what is missing and name it with --end, or omit this search"
        raise InputError("end", ", ".join(outside), expected)
    return [parts for parts, _ in found]
