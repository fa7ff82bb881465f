"""Sharing out trials among jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_fuse2.core.search.batches import number_of_jobs
from aiida_fuse2.core.search.state import SearchState

START = SearchState.initial(2, 0.02)


@pytest.mark.parametrize(
    ("trials", "seconds_per_structure", "jobs"),
    [(32, 0.25, 1), (32, 2.0, 2), (32, 10.0, 4), (3, 100.0, 3), (1, 1000.0, 1)],
)
def test_each_job_has_work(trials, seconds_per_structure, jobs):
    state = replace(START, tried=10, cpu_seconds=10 * seconds_per_structure)
    assert number_of_jobs(trials, state, most=4, least_seconds=30) == jobs


def test_nothing_is_known_at_first():
    assert number_of_jobs(32, START, most=4, least_seconds=30) == 4


def test_no_least_work_means_as_many_as_allowed():
    assert number_of_jobs(32, replace(START, tried=10, cpu_seconds=0.1), most=4, least_seconds=0) == 4


@given(st.integers(1, 500), st.integers(0, 50), st.floats(0, 1e6), st.integers(1, 50), st.floats(0, 1e4))
def test_there_is_always_a_job_and_never_too_many(trials, tried, seconds, most, least):
    found = number_of_jobs(trials, replace(START, tried=tried, cpu_seconds=seconds), most=most, least_seconds=least)
    assert 1 <= found <= min(most, trials)
