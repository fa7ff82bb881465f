"""Who makes the starting structures of a search: generators in their shares, in the pool's job or when they are needed.

Shares are kept by turns: each time it is the turn of the one that is furthest behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from math import ceil
from typing import TypeVar

from aiida_fuse2.core.generators import Generator, get_generator
from aiida_fuse2.core.settings import SearchSettings

POOL = ""
"""Stands in turns for all generators that fill the pool by a job."""

DIGITS = 9
"""Digits of a deficit that count: the rest is rounding."""

T = TypeVar("T")


def _generators(settings: SearchSettings) -> list[Generator]:
    """Return the generators of the starting structures by name."""
    return [get_generator(name) for name in sorted(settings.starts)]


def pool_generators(settings: SearchSettings, made: Collection[str] = ()) -> list[str]:
    """Return the names of the generators that fill the next pool of a search, in a job.

    Args:
        settings: settings of the search.
        made: names of generators that have made a pool for the search.
    """
    in_job = [generator for generator in _generators(settings) if not generator.in_process]
    return [generator.name for generator in in_job if generator.refills or generator.name not in made]


def has_other_starts(settings: SearchSettings) -> bool:
    """Return whether a search can begin although the job has made no structure for its first pool.

    It can if it has another kind of start, or if another job would give the same.
    """
    chosen = _generators(settings)
    own = any(generator.in_process and generator.makes_structures for generator in chosen)
    return own or not any(generator.refills for generator in chosen if not generator.in_process)


def population_shares(settings: SearchSettings) -> dict[str, float]:
    """Return the shares in an initial population: one of the pool, and one of each generator that needs no job.

    Structures that the user gave come before all of them and have no share.
    """
    shares: dict[str, float] = {}
    for generator in _generators(settings):
        if generator.makes_structures:
            name = generator.name if generator.in_process else POOL
            shares[name] = shares.get(name, 0.0) + settings.starts[generator.name]
    return shares or {POOL: 1.0}


def sizes_of_parts(size: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Return how many structures each generator makes of a pool: its share, rounded up.

    Args:
        size: number of structures of the pool.
        shares: share of each generator, relative.
    """
    total = sum(shares.values())
    return {name: max(1, ceil(round(size * share / total, DIGITS))) for name, share in shares.items()}


def next_turn(shares: Mapping[str, float], taken: Mapping[str, int]) -> str:
    """Return whose turn it is: the name that is furthest behind its share, of several the first by name.

    Args:
        shares: share of each name, relative.
        taken: number of turns that each name has had.
    """
    total, turns = sum(shares.values()), sum(taken.get(name, 0) for name in shares)
    behind = {name: (turns + 1) * share / total - taken.get(name, 0) for name, share in shares.items()}
    return min(shares, key=lambda name: (-round(behind[name], DIGITS), name))


def interleaved(parts: Mapping[str, Sequence[T]], shares: Mapping[str, float]) -> list[T]:
    """Return all items of the parts, each part in its own order, so that the first ones of any number keep the shares.

    Args:
        parts: items of each name.
        shares: share of each name, relative.
    """
    taken: Counter[str] = Counter()
    items = []
    for _ in range(sum(map(len, parts.values()))):
        left = {name: shares[name] for name, part in parts.items() if taken[name] < len(part)}
        name = next_turn(left, taken)
        items.append(parts[name][taken[name]])
        taken[name] += 1
    return items
