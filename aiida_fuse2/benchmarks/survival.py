"""Costs until searches hit their targets, where some did not hit within their budget.

A search without a hit says that its hit costs more than the search did: it is censored. Medians of the hits alone would
be too low, so survival analysis is used.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .course import reached_at
from .results import SearchRow
from .statistics import CONFIDENCE, Estimate

HALF = 0.5 + 1e-12
"""One half, with room for rounding."""


@dataclass(frozen=True)
class Searched:
    """What a search has cost.

    Attributes:
        cost: until its hit, or in all if it has none.
        is_hit: whether it hit its target.
    """

    cost: float
    is_hit: bool


@dataclass(frozen=True, kw_only=True)
class SurvivalFigures:
    """The CPU time until the target with one of several settings.

    Attributes:
        composition: formula; ALL for all compositions that were searched with each setting.
        max_atoms: largest number of atoms of a structure; None for all compositions.
        setting: label of the setting.
        searches: number of searches.
        hits: number of those that reached the target.
        median: CPU time within which half of the searches reach it, s; None if it is longer than they were.
        rate: times that it is reached in a CPU hour; None if no time was spent.
        p: chance of a difference as large as this from the first setting, if both hit alike; None for the first.
    """

    composition: str
    max_atoms: int | None
    setting: str
    searches: int
    hits: int
    median: Estimate | None
    rate: Estimate | None
    p: float | None


ALL = "all"
"""Name of all compositions together."""

Groups = Mapping[str, Sequence[Searched]]
"""Searches for one target by label of the setting."""


def searched(row: SearchRow, target: float) -> Searched:
    """Return the CPU time of a search until its target, s; until its end, at most its budget, if it missed it."""
    hit = reached_at(row.course, target, row.budget)
    return Searched(min(row.cpu_seconds, row.budget) if hit is None else hit.cpu_seconds, hit is not None)


def compare_settings(groups: Mapping[tuple[str, int], Groups]) -> list[SurvivalFigures]:
    """Return the figures of compositions that were searched with several settings, and of those searched with all.

    A composition with a single search of a setting counts among all only.

    Args:
        groups: searches that have a target, by composition and largest number of atoms.
    """
    several = {place: by for place, by in groups.items() if len(by) > 1}
    repeated = {place: by for place, by in several.items() if min(map(len, by.values())) > 1}
    figures = [f for (formula, atoms), by in repeated.items() for f in _figures(formula, atoms, [by])]
    labels = {label for by in several.values() for label in by}
    complete = [by for by in several.values() if by.keys() == labels]
    return figures + (_figures(ALL, None, complete) if len(complete) > 1 else [])


def _figures(composition: str, max_atoms: int | None, groups: Sequence[Groups]) -> list[SurvivalFigures]:
    """Return the figures of each setting for one composition, or several that have the same settings."""
    first, figures = next(iter(groups[0])), []
    for label in groups[0]:
        searches = [search for by in groups for search in by[label]]
        figures.append(
            SurvivalFigures(
                composition=composition,
                max_atoms=max_atoms,
                setting=label,
                searches=len(searches),
                hits=sum(search.is_hit for search in searches),
                median=median_cost(searches),
                rate=_per_hour(hit_rate(searches)),
                p=None if label == first else log_rank([(by[first], by[label]) for by in groups]),
            )
        )
    return figures


def _per_hour(rate: Estimate | None) -> Estimate | None:
    if rate is None or rate.low is None or rate.high is None:
        return None
    return Estimate(3600 * rate.value, 3600 * rate.low, 3600 * rate.high)


def median_cost(searches: Sequence[Searched]) -> Estimate | None:
    """Return the cost within which half of the searches hit, or None if it is beyond all of them.

    The survival function is that of Kaplan and Meier (J. Am. Stat. Assoc. 1958, 53, 457). The interval has the costs at
    which its pointwise interval, log(-log)-transformed, holds one half (Brookmeyer and Crowley, Biometrics 1982, 38,
    29); an end is None if it is beyond the data.

    Args:
        searches: at least one; without a hit the result is None.
    """
    hits = np.array([s.is_hit for s in searches])
    if not hits.any():
        return None
    costs = np.array([s.cost for s in searches])
    survival = stats.ecdf(stats.CensoredData.right_censored(costs, ~hits)).sf
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no width where all or none have hit
        interval = survival.confidence_interval(CONFIDENCE, method="log-log")
    median = _half(survival.quantiles, survival.probabilities)
    if median is None:
        return None
    low = np.nan_to_num(interval.low.probabilities, nan=0.0)
    high = np.nan_to_num(interval.high.probabilities, nan=1.0)
    return Estimate(median, _half(survival.quantiles, low), _half(survival.quantiles, high))


def _half(costs: NDArray[np.float64], probabilities: NDArray[np.float64]) -> float | None:
    """Return the lowest cost at which at most half of the searches go on, or None if there is none."""
    below = np.flatnonzero(probabilities <= HALF)
    return float(costs[below[0]]) if len(below) else None


def hit_rate(searches: Sequence[Searched]) -> Estimate | None:
    """Return the hits per cost, if their chance does not change during a search; None if nothing was spent.

    The interval is the exact one of a Poisson distribution (Garwood, Biometrika 1936, 28, 437).
    """
    hits, total = sum(s.is_hit for s in searches), math.fsum(s.cost for s in searches)
    if total <= 0:
        return None
    tail = (1 - CONFIDENCE) / 2
    low = stats.chi2.ppf(tail, 2 * hits) / 2 if hits else 0.0
    high = stats.chi2.ppf(1 - tail, 2 * hits + 2) / 2
    return Estimate(hits / total, float(low / total), float(high / total))


def log_rank(pairs: Sequence[tuple[Sequence[Searched], Sequence[Searched]]]) -> float | None:
    """Return the chance of a difference as large as this if two settings hit alike; None without anything to compare.

    It is the log-rank test (Mantel, Cancer Chemother. Rep. 1966, 50, 163), in strata: only searches of one composition
    are compared with each other.

    Args:
        pairs: searches with both settings, by composition.
    """
    difference = variance = 0.0
    for first, second in pairs:
        for cost in sorted({s.cost for s in (*first, *second) if s.is_hit}):
            left = [sum(s.cost >= cost for s in group) for group in (first, second)]
            found = [sum(s.is_hit and s.cost == cost for s in group) for group in (first, second)]
            n, hits, share = sum(left), sum(found), left[0] / sum(left)
            difference += found[0] - hits * share
            if n > 1:
                variance += hits * share * (1 - share) * (n - hits) / (n - 1)
    return float(stats.chi2.sf(difference**2 / variance, 1)) if variance > 0 else None
