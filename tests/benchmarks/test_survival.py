"""Survival analysis against figures from books: remission of leukaemia (Freireich et al., Blood 1963, 21, 699)."""

import numpy as np
import pytest
from scipy import stats

from aiida_fuse2.benchmarks.search_report import report_searches
from aiida_fuse2.benchmarks.statistics import Estimate
from aiida_fuse2.benchmarks.survival import ALL, Searched, hit_rate, log_rank, median_cost, searched

from .rows import search


def samples(text):
    """Return searches of costs in a text; those with a plus are censored."""
    return [Searched(float(word.rstrip("+")), not word.endswith("+")) for word in text.split()]


TREATED = samples("6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+")
PLACEBO = samples("1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23")


def test_medians_of_a_book():
    assert median_cost(TREATED) == Estimate(23, 13, None)  # fewer than half are known to be longer
    assert median_cost(PLACEBO) == Estimate(8, 4, 11)
    assert np.median([s.cost for s in TREATED if s.is_hit]) == 10  # what the hits alone would say


def test_log_rank_test_of_a_book():
    chi2 = stats.chi2.isf(log_rank([(TREATED, PLACEBO)]), 1)
    assert chi2 == pytest.approx(16.79, abs=0.005)  # Kleinbaum and Klein, Survival Analysis, chapter 2


def test_log_rank_test_is_that_of_scipy():
    rng = np.random.default_rng(3)
    for _ in range(20):
        groups = [[Searched(float(rng.integers(1, 9)), bool(rng.random() < 0.6)) for _ in range(n)] for n in (8, 5)]
        data = [stats.CensoredData.right_censored([s.cost for s in g], [not s.is_hit for s in g]) for g in groups]
        assert log_rank([tuple(groups)]) == pytest.approx(stats.logrank(*data).pvalue)


def test_strata_are_not_mixed():
    """One setting is faster for each of two compositions, and was used more for the hard one."""
    easy = samples("5 6 6 7"), samples("8 9 9 10 10 11 11 12 12 13 13 14")
    hard = samples("50 60 60 70 70 80 80 90 90 95 95 99"), samples("110 120 130 140")
    assert log_rank([easy, hard]) < 1e-4
    mixed = log_rank([(easy[0] + hard[0], easy[1] + hard[1])])
    assert mixed > 0.1
    assert log_rank([easy, easy]) < log_rank([easy])


@pytest.mark.parametrize(("first", "second"), [("", "5"), ("3+ 4+", "5+"), ("9+", "")])
def test_nothing_to_compare(first, second):
    assert log_rank([(samples(first), samples(second))]) is None


def test_equal_settings_differ_by_chance_in_one_of_twenty():
    rng = np.random.default_rng(11)
    small = 0
    for _ in range(400):
        costs = rng.exponential(10, (2, 20))
        small += log_rank([[[Searched(min(c, 15.0), c < 15) for c in row] for row in costs]]) < 0.05
    assert 8 <= small <= 34


@pytest.mark.parametrize(("hits", "low", "high"), [(0, 0, 3.6889), (1, 0.0253, 5.5716), (10, 4.7954, 18.3904)])
def test_rates_have_garwoods_interval(hits, low, high):
    found = hit_rate([Searched(10.0, is_hit=True)] * hits + [Searched(100.0 - 10 * hits, is_hit=False)])
    assert found.value == pytest.approx(hits / 100)
    assert (100 * found.low, 100 * found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_few_searches():
    assert median_cost(samples("5+ 6+")) is None
    assert median_cost(samples("5 6+ 7+")) is None  # two of three go on
    assert median_cost(samples("5")) == Estimate(5, 5, None)
    assert hit_rate([Searched(0.0, is_hit=False)]) is None


def test_time_of_a_search():
    row = search((2.0, 5, -5.0), (60.0, 20, -5.72), (120.0, 30, -5.8), cpu_seconds=104.0)
    assert searched(row, -5.718) == Searched(60.0, is_hit=True)
    assert searched(row, -5.75) == Searched(100.0, is_hit=False)  # what came after the budget does not count
    assert searched(search(cpu_seconds=30.0), -5.718) == Searched(30.0, is_hit=False)


def rows_of(composition, generator, times):
    return [
        search((t, 9, -5.72), generator=generator, seed=seed, composition=composition) for seed, t in enumerate(times)
    ]


def test_report_compares_settings():
    rows = [
        *rows_of("CoAs2", "fgen", [10, 20, 30, 40, 500]),
        *rows_of("CoAs2", "symmetric", [60, 70, 80, 500, 500]),
        *rows_of("TiO2", "fgen", [1, 2, 3]),
        *rows_of("TiO2", "symmetric", [4, 5, 6]),
        *rows_of("YWB4", "fgen", [1, 2, 3]),
        *rows_of("Mn", "fgen", [1]),
        *rows_of("Mn", "symmetric", [4, 5]),
    ]
    figures = {(f.composition, f.setting): f for f in report_searches(rows).survival}
    assert [key[0] for key in figures] == ["CoAs2"] * 2 + ["TiO2"] * 2 + [ALL] * 2
    first, second = figures["CoAs2", "fgen"], figures["CoAs2", "symmetric"]
    assert (first.hits, first.searches, first.median.value, first.p) == (4, 5, 30, None)
    assert first.rate.value == pytest.approx(3600 * 4 / 200)
    assert second.median.value == 80
    data = [stats.CensoredData(x, right=[100] * n) for x, n in (([10, 20, 30, 40], 1), ([60, 70, 80], 2))]
    assert second.p == pytest.approx(stats.logrank(*data).pvalue)
    both = figures[ALL, "symmetric"]
    assert (both.hits, both.searches, both.max_atoms) == (8, 10, None)
    assert both.p < second.p
    assert report_searches(rows_of("CoAs2", "fgen", [10, 20])).survival == []
    assert report_searches([r.model_copy(update={"target": None}) for r in rows]).survival == []
