from __future__ import annotations

import numpy as np
import pytest
from ase.build import make_supercell
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.crystal.symmetry import rattle
from aiida_fuse2.core.crystal.uniqueness import (
    FINGERPRINT_TOLERANCE,
    UniqueIndex,
    are_equal,
    decode_fingerprint,
    displacement,
    encode_fingerprint,
    fingerprint,
    fingerprint_distance,
    match_structures,
)
from tests.core.crystals import perovskite, quartz, ruddlesden_popper

STOL = 0.1


def distance(a, b):
    return float(fingerprint_distance(fingerprint(a), fingerprint(b)))


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(0, 10**6))
def test_fingerprint_does_not_depend_on_the_cell(seed):
    rng = np.random.default_rng(seed)
    atoms = quartz()
    matrix = np.eye(3, dtype=int)
    matrix[rng.integers(3), rng.integers(3)] += rng.integers(1, 3)
    if abs(np.linalg.det(matrix)) < 0.5:
        matrix = np.diag([2, 1, 1])
    other = make_supercell(atoms, matrix)
    other.rotate(float(rng.uniform(0, 360)), rng.normal(size=3), rotate_cell=True)
    other.translate(rng.normal(size=3))
    other = other[rng.permutation(len(other))]
    assert distance(atoms, other) < 1e-6


def test_small_differences_stay_below_the_tolerance():
    moved = rattle(perovskite() * (2, 2, 1), 0.03, np.random.default_rng(0))
    assert 0 < distance(moved, perovskite()) < FINGERPRINT_TOLERANCE
    assert are_equal(moved, perovskite(), stol=STOL)


def test_displacement_is_in_length():
    moved = perovskite()
    moved.positions[2] += [0.05, 0, 0]  # against the others; the matcher takes out what all have in common
    others = 0.05 / 5
    expected = np.sqrt(((0.05 - others) ** 2 + 4 * others**2) / 5)
    assert displacement(moved, perovskite() * (2, 1, 1), stol=STOL) == pytest.approx(expected, rel=0.05)
    assert displacement(perovskite(), perovskite(), stol=STOL) == pytest.approx(0, abs=1e-6)
    swapped = perovskite()
    swapped.numbers[[0, 1]] = swapped.numbers[[1, 0]]
    assert displacement(swapped, perovskite(), stol=STOL) is None


def test_swapped_cations_differ():
    other = perovskite()
    other.numbers[[0, 1]] = other.numbers[[1, 0]]
    assert distance(other, perovskite()) > FINGERPRINT_TOLERANCE
    assert not match_structures(other, perovskite(), stol=STOL)


@pytest.mark.parametrize("factor", [1.07, 1.15])  # 23 % and 52 % more volume
def test_size_counts(factor):
    larger = perovskite()
    larger.set_cell(larger.cell * factor, scale_atoms=True)
    assert not match_structures(larger, perovskite(), stol=STOL)
    assert not are_equal(larger, perovskite(), stol=STOL)


@pytest.mark.parametrize("angle", [8.0, 12.0])
def test_tilted_octahedra_are_not_the_parent(angle):
    cubic = make_supercell(perovskite(), [[1, 1, 0], [1, -1, 0], [0, 0, 2]])
    tilted = cubic.copy()
    inverse = np.linalg.inv(cubic.cell.array)
    for atom in tilted:
        if atom.symbol != "O":
            continue
        titanium = min(
            (t for t in cubic if t.symbol == "Ti"), key=lambda t: cubic_distance(cubic, t.position, atom.position)
        )
        wrapped = (atom.position - titanium.position) @ inverse
        vector = (wrapped - np.round(wrapped)) @ cubic.cell.array
        if abs(vector[2]) > 0.5:
            continue  # apical
        layer = round(titanium.position[2] / 3.905)
        column = round((titanium.position[0] + titanium.position[1]) / 3.905)
        sign = (-1) ** (layer + column)
        turn = np.radians(angle) * sign
        atom.position += np.array([-vector[1], vector[0], 0]) * np.tan(turn)
    assert not match_structures(tilted, cubic, stol=STOL)
    assert match_structures(tilted, tilted.copy(), stol=STOL)


def cubic_distance(atoms, a, b):
    fraction = (b - a) @ np.linalg.inv(atoms.cell.array)
    return np.linalg.norm((fraction - np.round(fraction)) @ atoms.cell.array)


def test_index_finds_near_structures_only():
    index = UniqueIndex()
    vectors = {"a": fingerprint(perovskite()), "b": fingerprint(quartz()), "c": fingerprint(ruddlesden_popper())}
    for position, (label, vector) in enumerate(vectors.items()):
        index.add(label, -8.0 + 0.001 * position, vector)
    index.add("far", -7.0, vectors["a"])
    assert index.near(-8.0, vectors["a"], 0.005) == ["a"]
    assert index.near(-7.996, vectors["b"], 0.005) == ["b"]
    assert index.near(-7.9, vectors["a"], 0.005) == []
    assert len(index) == 4


def test_index_returns_the_nearest_first():
    index = UniqueIndex()
    base = fingerprint(perovskite())
    index.add("second", -8.0, base * 1.05)
    index.add("first", -8.001, base * 1.01)
    assert index.near(-8.0, base, 0.005) == ["first", "second"]


def test_fingerprint_survives_as_text():
    vector = fingerprint(quartz())
    assert np.allclose(decode_fingerprint(encode_fingerprint(vector)), vector, rtol=1e-6)
    assert len(encode_fingerprint(vector)) < 200
