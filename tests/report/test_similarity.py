"""Which of several polymorphs a measured powder pattern belongs to, and by which numbers."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.report.patterns import Pattern, parse_wavelength
from aiida_fuse2.report.similarity import MeasuredPattern, background, best_match_text, by_similarity

from .powders import POLYMORPHS, TIO2, measured

DISTURBED = {
    "noise": {"noise": 0.03, "background": 0.3},
    "shift": {"shift": 0.12, "width": 0.3},
    "larger": {"scale": 1.02},
    "smaller": {"scale": 0.98},
    "plates": {"texture": 0.6},
    "needles": {"texture": 1.6, "axis": (1, 0, 0)},
    "all": {"noise": 0.03, "background": 0.3, "shift": -0.1, "scale": 1.02, "texture": 0.6, "width": 0.3},
}
"""How measured patterns differ from simulated ones."""


@pytest.mark.parametrize("formula", POLYMORPHS)
@pytest.mark.parametrize("how", DISTURBED)
def test_the_right_polymorph_is_the_most_similar(formula, how):
    rng = np.random.default_rng(1)
    for name, atoms in POLYMORPHS[formula].items():
        pattern = MeasuredPattern(measured(atoms, rng, **DISTURBED[how]), "CuKa")
        matches = {other: pattern.match(one) for other, one in POLYMORPHS[formula].items()}
        assert max(matches, key=lambda other: matches[other].similarity) == name
        assert matches[name].similarity > 0.6
        assert matches[name].explained >= 0.6 * matches[name].observed
        assert matches[name].scale == pytest.approx(DISTURBED[how].get("scale", 1), abs=0.003)


def test_a_pattern_equals_its_own_structure():
    match = MeasuredPattern(measured(TIO2["anatase"], None, scale=1.01, shift=0.09), "CuKa").match(TIO2["anatase"])
    assert match.similarity > 0.99
    assert (match.explained, match.missing) == (match.observed, 0)
    assert (match.scale, match.shift) == (pytest.approx(1.01, abs=1e-3), pytest.approx(0.09, abs=0.031))


def test_lines_that_are_not_seen_are_counted():
    pattern = MeasuredPattern(measured(TIO2["fluorite"], None), "CuKa")
    assert pattern.match(TIO2["brookite"]).missing > 5
    assert pattern.match(TIO2["brookite"]).explained < pattern.match(TIO2["fluorite"]).explained + 1


def test_another_wavelength_is_another_pattern():
    pattern = measured(TIO2["rutile"], None)
    wrong, right = (MeasuredPattern(pattern, length).match(TIO2["rutile"]) for length in ("MoKa", 1.5418))
    assert right.similarity > 0.98
    assert wrong.similarity < 0.5


def test_background_is_below_the_peaks():
    x = np.arange(0, 60, 0.05)
    slow = 20 + 30 * np.exp(-x / 20)
    found = background(slow + 50 * np.exp(-0.5 * ((x - 30) / 0.1) ** 2), 30)
    assert np.abs(found - slow).max() < 1.0


def pattern_of(x, y):
    return Pattern(name="x.xy", two_theta=np.asarray(x, dtype=float), intensity=np.asarray(y, dtype=float))


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (pattern_of([20, 21], [1, 2]), "too few points"),
        (pattern_of([1, 2, 3, 4], [1, 2, 1, 2]), "too few points"),
        (pattern_of(np.arange(10, 60, 0.1), np.ones(500)), "no peak"),
        (pattern_of(np.arange(10, 60, 0.1), np.random.default_rng(1).normal(50, 3, 500)), "no peak"),
    ],
)
def test_patterns_without_information_are_refused(pattern, reason):
    with pytest.raises(InputError, match=reason):
        MeasuredPattern(pattern, "CuKa")


def test_wavelengths():
    assert parse_wavelength("MoKa1") == "MoKa1"
    assert parse_wavelength("0.4137") == 0.4137
    for text in ("0", "nan", "-1", "Cu", "12"):
        with pytest.raises(InputError, match="wavelength"):
            parse_wavelength(text)


def test_order_and_words():
    match = {"similarity": 0.9, "explained": 9, "observed": 10, "missing": 1, "scale": 0.99, "shift": 0.03}
    rows = [
        {"rank": 1, "pattern": match | {"similarity": 0.4}},
        {"rank": 2, "pattern": None},
        {"rank": 3, "pattern": match},
    ]
    assert [row["rank"] for row in by_similarity(rows)] == [3, 1, 2]
    assert best_match_text("x.xy", rows).startswith("x.xy: structure 3 fits best, similarity 0.90; 9 of 10 peaks")
    assert best_match_text("x.xy", rows[1:2]) == "x.xy: no structure to compare with"
