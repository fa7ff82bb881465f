"""The comparison with stock CHGNet itself: that it covers what it should and finds what differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import units

from aiida_fuse2.core.potentials.evaluation import Evaluation

from .agreement import (
    COMPOSITIONS,
    StockChgnet,
    all_cases,
    assert_agreement,
    deviation,
    other_lattice_vectors,
    quick_cases,
    stock,
    tolerance,
)


def test_structures():
    quick, all_ = quick_cases(), all_cases()
    assert len(quick) >= 40
    assert len(all_) >= 200
    assert all(len({case.label for case in cases}) == len(cases) for cases in (quick, all_))
    for kind in (*COMPOSITIONS, "clash", "dimer", "tiny", "skewed", "left-handed", "symmetric", "fgen"):
        assert any(kind in case.label for case in quick)
    assert min(len(case.atoms) for case in quick) == 1


def test_tolerances():
    forces = np.array([[0.0, 0.0, 100.0], [0.0, 0.0, -100.0]])
    expected = Evaluation(-20.0, forces, np.zeros((3, 3)), np.array([1.0, 0.0]))

    def ratio(**changes):
        return deviation(replace(expected, **changes), expected).over(tolerance(expected)).largest

    assert ratio() == 0
    assert ratio(energy=-20.0 + 2 * 1.9e-5) == pytest.approx(0.95)
    assert ratio(forces=forces + 1.9e-3) == pytest.approx(0.95)
    assert ratio(stress=np.full((3, 3), 0.95e-3 * units.GPa)) == pytest.approx(0.95)
    assert ratio(moments=np.array([1.0, 1.9e-4])) == pytest.approx(0.95)
    assert ratio(energy=np.nan) == np.inf


def test_difference_is_found():
    pytest.importorskip("chgnet")

    class Shifted(StockChgnet):
        def __init__(self):
            self.model, self.name, self.dtype = stock("0.3.0").model, "shifted", stock("0.3.0").dtype
            self.known = {}

        def evaluate(self, numbers, positions, cell):
            found = super().evaluate(numbers, positions, cell)
            return replace(found, energy=found.energy + 1e-3 * len(numbers) * (len(numbers) > 3))

    small = [case for case in quick_cases() if len(case.atoms) <= 3][:1]
    large = [case for case in quick_cases() if len(case.atoms) == 4][:1]
    assert_agreement(Shifted(), "0.3.0", small)
    with pytest.raises(AssertionError, match="1 of 2 structures differ"):
        assert_agreement(Shifted(), "0.3.0", small + large)


def test_stock_does_not_depend_on_the_lattice_vectors():
    pytest.importorskip("chgnet")
    case = next(case for case in quick_cases() if case.label.startswith("CoAs2 fgen"))
    expected = stock("0.3.0").evaluate(case.atoms.numbers, case.atoms.positions, case.atoms.cell.array)
    skewed = other_lattice_vectors(case.atoms, np.random.default_rng(0), left_handed=True)
    found = stock("0.3.0").evaluate(skewed.numbers, skewed.positions, skewed.cell.array)
    assert deviation(found, expected).over(tolerance(expected)).largest < 1
