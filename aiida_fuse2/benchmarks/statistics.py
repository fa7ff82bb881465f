"""Estimates with their 95 % confidence intervals."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its confidence interval, each None if there are too few data for it."""

    value: float
    low: float | None = None
    high: float | None = None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def ratio_of_rates(
    converged: NDArray[np.bool_],
    seconds: NDArray[np.float64],
    base_converged: NDArray[np.bool_],
    base_seconds: NDArray[np.float64],
    rng: np.random.Generator,
) -> Estimate | None:
    """Return the ratio of structures per CPU time of one method to another on the same starts.

    The interval is a percentile bootstrap over the starts (Efron, Ann. Stat. 1979, 7, 1).

    Args:
        converged: whether each start gave a structure, shape (n,).
        seconds: CPU time of each, s, shape (n,).
        base_converged: the same for the method compared with, shape (n,).
        base_seconds: CPU time of each with the method compared with, s, shape (n,).
        rng: random generator of the bootstrap.

    Returns:
        The ratio, or None if the other method gave no structure.
    """

    def ratio(
        ours: NDArray[np.float64],
        time: NDArray[np.float64],
        base: NDArray[np.float64],
        base_time: NDArray[np.float64],
        axis: int = -1,
    ) -> NDArray[np.float64]:
        with np.errstate(divide="ignore", invalid="ignore"):
            found: NDArray[np.float64] = (ours.sum(axis) * base_time.sum(axis)) / (time.sum(axis) * base.sum(axis))
        return found

    columns = tuple(np.asarray(c, dtype=float) for c in (converged, seconds, base_converged, base_seconds))
    if not len(columns[0]) or not columns[2].sum() or not columns[1].sum():
        return None
    value = float(ratio(columns[0], columns[1], columns[2], columns[3]))
    if len(columns[0]) < 2:
        return Estimate(value)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # equal starts: no width
        found = stats.bootstrap(
            columns,
            ratio,
            paired=True,
            vectorized=True,
            method="percentile",
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            random_state=rng,
        ).confidence_interval
    return Estimate(value, _finite(found.low), _finite(found.high))


def median(values: Sequence[float]) -> Estimate | None:
    """Return a median; its interval comes from order statistics and assumes no distribution."""
    if not values:
        return None
    center = float(np.median(values))
    found = stats.quantile_test(values, q=center, p=0.5).confidence_interval(confidence_level=CONFIDENCE)
    return Estimate(center, _finite(found.low), _finite(found.high))


def success_rate(successes: int, trials: int) -> Estimate:
    """Return a rate of success with its exact interval (Clopper and Pearson, Biometrika 1934, 26, 404)."""
    found = stats.binomtest(successes, trials).proportion_ci(confidence_level=CONFIDENCE, method="exact")
    return Estimate(successes / trials, float(found.low), float(found.high))
