"""Convex hull over the lowest structures of several compositions: free of AiiDA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog, nnls

from aiida_fuse2.core.composition import FormulaUnit, parse_composition
from aiida_fuse2.core.errors import Fuse2Error, InputError

NEGLIGIBLE = 1e-6
"""Part of a phase in a mixture, or residue of a composition, that counts as none."""


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
    """A phase beside the others.

    Attributes:
        formula: of the phase.
        search: primary key of the search.
        energy: eV/atom.
        formation: energy of formation from the end members, eV/atom, or None where there are none.
        above: energy above the hull, eV/atom; 0 for a stable phase.
        decomposition: moles of atoms of each phase that one mole of atoms becomes; the phase itself where stable.
        parts: share of each end member in its atoms, in their order; empty where there are none.
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
        """Whether no mixture of others is lower."""
        return set(self.decomposition) == {self.formula}


@dataclass(frozen=True, kw_only=True)
class Hull:
    """Phases, and what they are measured against.

    Attributes:
        rows: the phases.
        ends: formulas of the end members; none where elements were not searched and no others are named, unless
            all compositions lie on one line.
        elements: of all phases.
    """

    rows: tuple[HullRow, ...]
    ends: tuple[str, ...]
    elements: tuple[str, ...]


def convex_hull(phases: Sequence[Phase], ends: Sequence[str] = ()) -> Hull:
    """Return each phase with its energy above the hull of all, and its energy of formation.

    The mixture of lowest energy with the composition of a phase is a linear programme, which needs no elements among
    the phases; a cut through a phase field, such as SrO and TiO2, will do.

    Args:
        phases: the lowest of each composition is kept.
        ends: formulas of the end members that energies of formation refer to; they must be among the phases. The
            elements where they are all there, if left out; else, where all compositions lie on one line, its two
            ends.

    Raises:
        InputError: where an end member is not among the phases, or a phase is no mixture of them.
        HullError: where the linear programme fails.
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
    rows = []
    for phase, target in zip(kept, fractions, strict=True):
        mixture = _mixture(fractions, energies, target)
        parts = _parts(phase, target, fractions[chosen]) if chosen else np.empty(0)
        rows.append(
            HullRow(
                formula=phase.unit.formula,
                search=phase.search,
                energy=phase.energy,
                formation=float(phase.energy - parts @ energies[chosen]) if chosen else None,
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
    """Return the places of the end members among the phases; none where elements are missing."""
    places = {_key(phase.unit): index for index, phase in enumerate(kept)}
    wanted = [_key(parse_composition(end)) for end in ends] or [f"{element}1" for element in elements]
    missing = [index for index, key in enumerate(wanted) if key not in places]
    if missing and ends:
        present = ", ".join(phase.unit.formula for phase in kept)
        raise InputError("end", ends[missing[0]], f"there is no search for it; there are {present}")
    return [] if missing else [places[key] for key in wanted]


def _ends_of_line(fractions: NDArray[np.float64]) -> list[int]:
    """Return the places of the two outermost compositions where all lie on one line, else none."""
    centred = fractions - fractions.mean(axis=0)
    if np.linalg.matrix_rank(centred, tol=NEGLIGIBLE) != 1:
        return []
    along = centred @ np.linalg.svd(centred)[2][0]
    return sorted([int(np.argmin(along)), int(np.argmax(along))])


def _mixture(
    fractions: NDArray[np.float64], energies: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how much of each phase is in the mixture of lowest energy with a composition; shape (n,)."""
    found = linprog(energies - energies.max(), A_eq=fractions.T, b_eq=target, bounds=(0, None), method="highs")
    if not found.success:
        raise HullError(f"the hull could not be computed: {found.message}")
    mixture: NDArray[np.float64] = found.x
    return mixture


def _parts(phase: Phase, target: NDArray[np.float64], fractions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much of each end member is in a composition, in shares of its atoms; shape (n,)."""
    parts, residue = nnls(fractions.T, target)
    if residue > NEGLIGIBLE:
        raise InputError("end", phase.unit.formula, "is no mixture of the end members; name others, or none")
    shares: NDArray[np.float64] = parts
    return shares
