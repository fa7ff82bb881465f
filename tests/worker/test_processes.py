"""Pieces of work side by side."""

from __future__ import annotations

import time

import pytest

from aiida_fuse2.worker.processes import cpu_seconds, run_all

BURNT = 0.1
"""CPU time of a piece of work, s."""


def burn(piece):
    end = time.process_time() + BURNT
    while time.process_time() < end:
        pass
    return -piece


def burn_elsewhere(piece):
    return sum(result for _, result in run_all(burn, [piece, piece], 2))


@pytest.mark.parametrize("processes", [1, 2])
def test_cpu_time_of_other_processes_counts(processes):
    before = cpu_seconds()
    results = dict(run_all(burn, [1, 2, 3], processes))
    assert results == {1: -1, 2: -2, 3: -3}
    assert cpu_seconds() - before >= 2.5 * BURNT  # times of processes come in hundredths of a second


def test_cpu_time_of_processes_that_others_start_counts():
    before = cpu_seconds()
    assert list(run_all(burn_elsewhere, [1, 2], 1)) == [(1, -2), (2, -4)]
    assert cpu_seconds() - before >= 3.5 * BURNT


def test_no_work_needs_no_process():
    assert list(run_all(burn, [], None)) == []
