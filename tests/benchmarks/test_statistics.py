"""Intervals against figures from books and against what they must be by their definition."""

import numpy as np
import pytest

from aiida_fuse2.benchmarks.statistics import Estimate, median, ratio_of_rates, success_rate


def rng():
    return np.random.default_rng(3)


def test_exact_interval_of_a_rate():
    found = success_rate(0, 10)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 10))
    half = success_rate(5, 10)
    assert (half.low, half.high) == (pytest.approx(0.1871, abs=1e-4), pytest.approx(0.8129, abs=1e-4))


def test_interval_of_a_median_comes_from_order_statistics():
    # P(at most one of ten below the median) = 11/1024 = 1.1 %: ranks 2 and 9 hold 97.9 %
    assert median(list(range(10))) == Estimate(4.5, 1, 8)
    assert median([3.0, 1.0, 2.0]) == Estimate(2.0)
    assert median([]) is None


def test_ratio_is_that_of_the_sums():
    found = ratio_of_rates(
        np.array([True, True, False]), np.array([1.0, 2.0, 1.0]), np.ones(3, bool), np.array([30.0, 40.0, 50.0]), rng()
    )
    assert found.value == pytest.approx((2 / 4) / (3 / 120))
    assert found.low < found.value < found.high


def test_ratio_of_equal_pairs_has_no_width():
    seconds = np.array([1.0, 5.0, 2.0])
    found = ratio_of_rates(np.ones(3, bool), seconds, np.ones(3, bool), 8 * seconds, rng())
    assert [found.value, found.low, found.high] == pytest.approx([8, 8, 8])


def test_interval_of_a_ratio_covers_the_truth():
    """Of 60 samples of 40 pairs with a true ratio of 10, about 95 % of the intervals must hold it."""
    draw = np.random.default_rng(5)
    held = 0
    for _ in range(60):
        base = draw.lognormal(0, 0.5, 40)
        ours = draw.lognormal(-np.log(10), 0.5, 40)
        found = ratio_of_rates(np.ones(40, bool), ours, np.ones(40, bool), base, draw)
        held += found.low < 10 < found.high
    assert 51 <= held <= 60


@pytest.mark.parametrize("n", [0, 1])
def test_ratio_of_few_pairs_has_no_interval(n):
    found = ratio_of_rates(np.ones(n, bool), np.ones(n), np.ones(n, bool), np.full(n, 2.0), rng())
    assert found == (Estimate(2.0) if n else None)


def test_no_ratio_to_a_method_that_gave_nothing():
    assert ratio_of_rates(np.ones(2, bool), np.ones(2), np.zeros(2, bool), np.ones(2), rng()) is None
