"""A library of pair potentials: terms by pair of elements, each with its range of distances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations_with_replacement

from aiida_fuse2.core.errors import InputError

from .forms import Form, Spline

Pair = tuple[str, str]
"""Two elements in alphabetical order."""


def ordered_pair(first: str, second: str) -> Pair:
    """Return a pair of elements in the order of the libraries."""
    return (first, second) if first <= second else (second, first)


def pair_name(pair: Pair) -> str:
    """Return the name of a pair for people, e.g. ``Ca-O``."""
    return "-".join(pair)


@dataclass(frozen=True)
class PairTerm:
    """A function that acts between two elements.

    Attributes:
        pair: the elements.
        form: energy as a function of the distance.
        rmin: smallest distance at which it acts, Å.
        rmax: distance from which it does not act, Å.
    """

    pair: Pair
    form: Form
    rmin: float
    rmax: float


@dataclass(frozen=True)
class PairLibrary:
    """The terms of a library.

    Attributes:
        terms: those of a pair add up; pairs in alphabetical order.
        charges: charges of the elements that have one in the library, e.
    """

    terms: tuple[PairTerm, ...]
    charges: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(sorted(self.terms, key=lambda term: term.pair)))

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs that have a term, each once."""
        return tuple(dict.fromkeys(term.pair for term in self.terms))

    @property
    def elements(self) -> tuple[str, ...]:
        """The elements that have a term, in alphabetical order."""
        return tuple(sorted({element for pair in self.pairs for element in pair}))

    @property
    def cutoff(self) -> float:
        """Distance from which no term acts, Å; 0 if there is none."""
        return max((term.rmax for term in self.terms), default=0.0)

    @property
    def has_charges(self) -> bool:
        """Whether an element has a charge, so that the energy is more than the pair terms."""
        return any(self.charges.values())

    @property
    def has_rational_splines(self) -> bool:
        """Whether a table asks for GULP's rational functions, which the engine replaces by a cubic spline."""
        return any(isinstance(term.form, Spline) and not term.form.cubic for term in self.terms)

    def missing(self, elements: Iterable[str]) -> list[str]:
        """Return the names of the pairs of these elements that have no term."""
        wanted = combinations_with_replacement(sorted(set(elements)), 2)
        return [pair_name(pair) for pair in wanted if pair not in self.pairs]

    def restricted(self, elements: Iterable[str]) -> PairLibrary:
        """Return the library with the terms and charges of these elements only."""
        chosen = set(elements)
        terms = tuple(term for term in self.terms if chosen.issuperset(term.pair))
        return PairLibrary(terms, {name: charge for name, charge in self.charges.items() if name in chosen})

    def require(self, elements: Iterable[str], *, where: str) -> None:
        """Check that every pair of these elements has a term.

        Raises:
            InputError: if some have none; all are named.
        """
        lacking = self.missing(elements)
        if lacking:
            raise InputError(where, "-", f"has no potential for {', '.join(lacking)}")


def merge_libraries(libraries: Mapping[str, PairLibrary], *, where: str) -> PairLibrary:
    """Return one library of several, each pair from one of them.

    Two files may hold the same pair, in either order of its elements, if they agree.

    Args:
        libraries: libraries by name of their file.
        where: name of the input, for the message.

    Raises:
        InputError: if two files disagree about a pair or a charge.
    """
    terms: dict[Pair, tuple[str, tuple[PairTerm, ...]]] = {}
    charges: dict[str, float] = {}
    for name, library in libraries.items():
        for pair in library.pairs:
            found = tuple(term for term in library.terms if term.pair == pair)
            known_name, known = terms.setdefault(pair, (name, found))
            if known != found:
                raise InputError(where, name, f"{pair_name(pair)} differs from that of {known_name}; give it once")
        for element, charge in library.charges.items():
            if charges.setdefault(element, charge) != charge:
                raise InputError(
                    where, name, f"{element} has the charge {charge:g} here and {charges[element]:g} before"
                )
    return PairLibrary(tuple(term for _, found in terms.values() for term in found), charges)
