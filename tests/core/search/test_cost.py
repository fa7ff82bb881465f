"""The likely cost of a search, from a table of evaluation times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_fuse2.core.search.cost import (
    CostModel,
    SecondModel,
    evaluation_seconds,
    hours_text,
    likely_sizes,
    relaxation_seconds,
)
from aiida_fuse2.protocols import cost_values

MODEL = CostModel(evaluations=100, unit_atoms=5, growth=0.5, range=(0.5, 2.0))
TABLE = {5: 0.002, 10: 0.006}


def test_cells_are_whole_formula_units():
    assert likely_sizes(5, 22) == [5, 10, 15, 20]
    assert likely_sizes(30, 20) == [30]


def test_an_evaluation_is_interpolated_and_beyond_the_table_proportional():
    assert evaluation_seconds(TABLE, 8) == pytest.approx(0.0044)
    assert evaluation_seconds(TABLE, 40) == pytest.approx(0.024)
    assert evaluation_seconds(TABLE, 1) == pytest.approx(0.0004)


def test_a_relaxation_costs_the_mean_over_the_cells():
    low, high = relaxation_seconds(TABLE, MODEL, unit_atoms=5, max_atoms=10)
    assert (low, high) == (pytest.approx(0.5 * 100 * 0.004), pytest.approx(2 * 100 * 0.004))
    low, _ = relaxation_seconds(TABLE, MODEL, unit_atoms=20, max_atoms=20)  # twice the evaluations
    assert low == pytest.approx(0.5 * 200 * 0.012)


@given(st.integers(1, 60), st.integers(1, 200))
def test_larger_cells_never_cost_less(unit, atoms):
    table = cost_values()["chgnet"]["reference"]
    small, large = (relaxation_seconds(table, MODEL, unit_atoms=unit, max_atoms=n) for n in (atoms, atoms + unit))
    assert 0 < small[0] <= large[0] * (1 + 1e-12)
    assert small[0] < small[1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ((432, 1116), "0.12 to 0.31 CPU h"),
        ((119, 301), "2 to 5 CPU min"),
        ((360000, 1234567), "100 to 340 CPU h"),
        ((3600, 3601), "1 CPU h"),
        ((5.04, 20), "5 to 20 CPU s"),
    ],
)
def test_times_have_two_digits(seconds, text):
    assert hours_text(seconds) == text


def test_the_range_is_that_of_the_searches_that_were_measured():
    """SrTiO3 with at most 50 atoms took 0.28 to 0.77 CPU s per structure on the machine of the table."""
    values = cost_values()["chgnet"]
    model = CostModel(**{key: values[key] for key in ("evaluations", "unit_atoms", "growth", "range")})
    low, high = relaxation_seconds(values["reference"], model, unit_atoms=5, max_atoms=50)
    assert 0.2 < low < 0.4
    assert 0.8 < high < 1.3


def test_a_second_potential_costs_its_start_and_its_phases():
    model = SecondModel(evaluations=8, start=5.0, memory=(0.5, 0.02), reference=TABLE)
    low, high = model.seconds(3, 2, unit_atoms=5, max_atoms=10)
    assert (low, high) == (pytest.approx(5 + 8 * 0.002), pytest.approx(10 + 3 * 8 * 0.004))
    assert model.seconds(1, 4, unit_atoms=5, max_atoms=5) == (low, low)
    assert model.memory_of(50) == pytest.approx(1.5)
    for values in cost_values()["second"].values():
        assert 1 < SecondModel(**values).memory_of(40) < 1.3
