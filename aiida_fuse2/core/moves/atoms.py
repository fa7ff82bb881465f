"""Moves 1 to 6: atoms exchange their sites or move to vacant sites."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.slicing import SlicedStructure
from aiida_fuse2.core.crystal.vacancies import VacancyMap
from aiida_fuse2.core.errors import MoveError

from .base import MoveContext, make_crystal

MIN_PERMUTED = 3
"""Smallest number of atoms of a partial permutation (moves 3 and 4: 2 < i < n)."""

ANY = 0
"""Number of every atom where vacancies are the same for all species."""

OWN_SITE = 1.0
"""A vacant site is further than this from every site that an atom has left, Å, as in the paper: nearer ones
relax back."""

SCATTERINGS = 4
"""Number of attempts to find a site for every atom; each allows half as many new vacant sites as the one before."""


def has_species(sliced: SlicedStructure) -> bool:
    """Return whether there are atoms of different species."""
    return len(np.unique(sliced.numbers)) > 1


def has_part(sliced: SlicedStructure) -> bool:
    """Return whether a part of the atoms can be permuted: i atoms with 2 < i < n (moves 3 and 4)."""
    return len(sliced) > MIN_PERMUTED


def swap_atoms(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:  # noqa: ARG001
    """Move 1: two atoms of different species are swapped."""
    pairs = np.argwhere(np.triu(sliced.numbers[:, None] != sliced.numbers))
    if not len(pairs):
        raise MoveError("one_species")
    first, second = pairs[rng.integers(len(pairs))]
    return _placed(sliced, np.array([first, second]), sliced.fractional[[second, first]])


def move_to_vacancy(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
    """Move 2: one atom goes to a vacant site.

    Beyond the paper: vacant is where the atom keeps its distances from all others; if there is no such site for the
    atom, another atom is drawn.
    """
    if context.plain:
        chosen = rng.integers(len(sliced), size=1)
        return _placed(sliced, chosen, _vacancies(sliced, context, 1, rng))
    for atom in rng.permutation(len(sliced)):
        chosen = np.array([atom])
        vacancies = _without(sliced, chosen, context)
        place = vacancies.draw(int(sliced.numbers[atom]), rng)
        if place is not None:
            return _placed(sliced, chosen, place[None])
    raise MoveError("no_vacancy")


def permute_some(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:  # noqa: ARG001
    """Move 3: i atoms, 2 < i < n, permute, so that the species changes on as many sites as possible."""
    if not has_species(sliced):
        raise MoveError("one_species")
    if not has_part(sliced):
        raise MoveError("too_few_atoms")
    chosen = _choose_mixed(sliced.numbers, _part_size(sliced, rng), rng)
    order = derangement(sliced.numbers[chosen], rng)
    return _placed(sliced, chosen[order], sliced.fractional[chosen])


def permute_some_with_vacancies(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
    """Move 4: as move 3, with vacant sites, of which at least one is used."""
    if not has_part(sliced):
        raise MoveError("too_few_atoms")
    chosen = rng.permutation(len(sliced))[: _part_size(sliced, rng)]
    return _scattered(sliced, chosen, context, rng)


def permute_all(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:  # noqa: ARG001
    """Move 5: all atoms permute at random, so that the species changes on some sites.

    Any such arrangement is as likely as another. The derangement of move 3 would leave a compound like
    NaCl a single outcome.
    """
    if not has_species(sliced):
        raise MoveError("one_species")
    while True:  # at least half of the draws changes something, as there are two species
        order = rng.permutation(len(sliced))
        if np.any(sliced.numbers[order] != sliced.numbers):
            return _placed(sliced, order, sliced.fractional)


def permute_all_with_vacancies(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
    """Move 6: as move 5, with vacant sites, of which at least one is used."""
    return _scattered(sliced, rng.permutation(len(sliced)), context, rng)


def derangement(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.intp]:
    """Return an order in which as many sites as possible have another label than before.

    If one label has more than half of the sites, some of them must keep it, at random.

    Args:
        labels: label of each site, shape (n,).
        rng: random generator.

    Returns:
        ``order``, shape (n,): site k gets the atom from site ``order[k]``.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and commands that only ask need no moves

    n = len(labels)
    unchanged = labels[:, None] == labels
    # n random numbers sum to less than n, so they only choose among orders with the fewest unchanged
    _, order = linear_sum_assignment(n * unchanged + rng.random((n, n)))
    return np.asarray(order, dtype=np.intp)


def _part_size(sliced: SlicedStructure, rng: np.random.Generator) -> int:
    return int(rng.integers(MIN_PERMUTED, len(sliced)))


def _choose_mixed(numbers: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return ``size`` random atoms of at least two species."""
    order = rng.permutation(len(numbers))
    other = int(np.argmax(numbers[order] != numbers[order[0]]))
    order[[1, other]] = order[[other, 1]]  # the first atom of another species comes second
    return order[:size]


def _scattered(
    sliced: SlicedStructure, chosen: NDArray[np.intp], context: MoveContext, rng: np.random.Generator
) -> Atoms:
    """Put the chosen atoms (in random order) on vacant sites, at least one, and on their own sites.

    Beyond the paper: each atom gets a site where it keeps its distances from those placed before it.
    """
    most = int(rng.integers(1, len(chosen) + 1))
    if context.plain:
        vacancies = _vacancies(sliced, context, most, rng)
        own = rng.permutation(chosen)[len(vacancies) :]
        return _placed(sliced, chosen, np.vstack([vacancies, sliced.fractional[own]]))
    for attempt in range(SCATTERINGS):
        places = _fitting(sliced, rng.permutation(chosen) if attempt else chosen, max(1, most >> attempt), context, rng)
        if places is not None:
            order = np.array(sorted(places))
            return _placed(sliced, order, np.array([places[int(atom)] for atom in order]))
    raise MoveError("no_vacancy", "no arrangement of the atoms keeps their distances")


def _fitting(
    sliced: SlicedStructure, chosen: NDArray[np.intp], most: int, context: MoveContext, rng: np.random.Generator
) -> dict[int, NDArray[np.float64]] | None:
    """Return a fractional position for each chosen atom, with 1 to ``most`` of them on vacant sites, or None.

    The other atoms, and those for which no site is vacant, take sites that atoms have left; where none fits, a vacant
    one.
    """
    vacancies = _without(sliced, chosen, context)
    left = [sliced.fractional[atom] for atom in rng.permutation(chosen)]
    places: dict[int, NDArray[np.float64]] = {}
    for atom in chosen:
        number = int(sliced.numbers[atom])
        place = vacancies.draw(number, rng) if len(places) < most else None
        if place is None:
            index = next((k for k, site in enumerate(left) if vacancies.is_vacant(site, number)), None)
            place = vacancies.draw(number, rng) if index is None else left.pop(index)
        if place is None:
            return None
        places[int(atom)] = place
        vacancies.occupy(place, number)
    return places if _any_new(sliced, chosen, places) else None


def _any_new(sliced: SlicedStructure, chosen: NDArray[np.intp], places: dict[int, NDArray[np.float64]]) -> bool:
    """Return whether a position is none of those that the chosen atoms had."""
    old = {tuple(place) for place in sliced.fractional[chosen]}
    return any(tuple(place) not in old for place in places.values())


def _without(sliced: SlicedStructure, removed: NDArray[np.intp], context: MoveContext) -> VacancyMap:
    """Return the vacancies of a structure without some atoms; the sites that they left are not vacant."""
    vacancies = VacancyMap(sliced.cell, context.least)
    for atom in np.setdiff1d(np.arange(len(sliced)), removed):
        vacancies.occupy(sliced.fractional[atom], int(sliced.numbers[atom]))
    for atom in removed:
        vacancies.close(sliced.fractional[atom], OWN_SITE)
    return vacancies


def _vacancies(
    sliced: SlicedStructure, context: MoveContext, most: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return 1 to ``most`` of the paper's vacant sites, fractional, shape (m, 3); fewer than ``most`` where full."""
    radius = context.exclusion or 0.0
    vacancies = VacancyMap(sliced.cell, {(ANY, ANY): radius})
    for place in sliced.fractional:
        vacancies.occupy(place, ANY)
    places: list[NDArray[np.float64]] = []
    while len(places) < most and (place := vacancies.draw(ANY, rng)) is not None:
        places.append(place)
        vacancies.occupy(place, ANY)
    if not places:
        raise MoveError("no_vacancy", f"no site is further than {radius} Å from every atom")
    return np.array(places)


def _placed(sliced: SlicedStructure, atoms: NDArray[np.intp], places: NDArray[np.float64]) -> Atoms:
    """Return the crystal with the given atoms at other positions, fractional, shape (len(atoms), 3)."""
    fractional = sliced.fractional
    fractional[atoms] = places
    return make_crystal(sliced.numbers, fractional, sliced.cell)
