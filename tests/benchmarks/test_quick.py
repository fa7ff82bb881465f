"""The CPU time of an evaluation, measured with a clock of the test."""

from __future__ import annotations

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from aiida_fuse2.benchmarks.quick import WARM_UP, cells, measure


class Clock:
    """A clock and a potential: an evaluation takes a hundredth of a second for each atom."""

    name = "clock"

    def __init__(self):
        self.now = 0.0
        self.evaluated = []

    def evaluate(self, numbers, positions, _):
        self.now += 0.01 * len(numbers)
        self.evaluated.append((len(numbers), positions.copy()))


def test_each_size_is_measured_for_its_time():
    clock = Clock()
    table = measure(clock, [5, 10], 1.0, np.random.default_rng(0), clock=lambda: clock.now)
    assert table == {5: pytest.approx(0.05), 10: pytest.approx(0.1)}
    counts = [sum(n == size for n, _ in clock.evaluated) - WARM_UP for size in (5, 10)]
    assert counts == [20, 10]
    first, second = (positions for _, positions in clock.evaluated[:2])
    assert 0 < np.abs(first - second).max() < 0.5


def test_a_slow_potential_is_evaluated_once():
    clock = Clock()
    table = measure(clock, [40], 0.01, np.random.default_rng(0), clock=lambda: clock.now)
    assert table == {40: pytest.approx(0.4)}
    assert len(clock.evaluated) == 1 + WARM_UP


@pytest.mark.parametrize("size", [5, 10, 20, 40, 80])
def test_cells_are_compact_perovskites(size):
    atoms = cells(size)
    assert len(atoms) == size
    lengths = atoms.cell.lengths()
    assert lengths.max() / lengths.min() <= 4
    neighbours = np.bincount(neighbor_list("i", atoms, 2.0))[atoms.symbols == "Ti"]
    assert set(neighbours) == {6}
