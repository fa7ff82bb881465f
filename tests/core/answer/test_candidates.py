"""Of copies of one structure, one is finished."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from aiida_fuse2.core.answer.candidates import are_copies, worth_finishing
from aiida_fuse2.core.crystal.symmetry import rattle
from tests.core.crystals import perovskite


def displaced(atoms, width, seed=0):
    return rattle(atoms, width, np.random.default_rng(seed))


@pytest.mark.parametrize(("width", "are_one"), [(0.0, True), (0.05, True), (0.15, False)])
def test_a_supercell_with_small_displacements_is_a_copy(answer_settings, width, are_one):
    """Displacements of width w along three axes have an rms of 1.7 w; the limit is 0.15 Å."""
    copy = displaced(perovskite().repeat((2, 1, 1)), width)
    assert are_copies(perovskite(), copy, answer_settings()) is are_one
    assert are_copies(copy, perovskite(), answer_settings()) is are_one


def test_polytypes_and_other_sizes_are_no_copies(answer_settings):
    zincblende, wurtzite = bulk("ZnS", "zincblende", a=5.41), bulk("ZnS", "wurtzite", a=3.82, c=6.26)
    assert not are_copies(zincblende, wurtzite, answer_settings())
    assert not are_copies(zincblende.repeat((2, 1, 1)), zincblende.repeat((3, 1, 1)), answer_settings())
    strained = zincblende.copy()
    strained.set_cell(1.06 * strained.cell.array, scale_atoms=True)
    assert not are_copies(zincblende, strained, answer_settings())


def test_the_lowest_copy_has_the_finds_of_all(answer_settings):
    base = perovskite()
    structures = {
        "a": base,
        "b": displaced(base.repeat((2, 1, 1)), 0.03),
        "c": displaced(base.repeat((1, 2, 1)), 0.03, 1),
        "other": bulk("NaCl", "rocksalt", a=5.6),
        "d": displaced(base.repeat((1, 1, 2)), 0.03, 2),
        "last": bulk("CsCl", "cesiumchloride", a=4.1),
    }
    energies = {"a": -1.0, "b": -0.9996, "c": -0.9992, "other": -0.9991, "d": -0.997, "last": -0.9}
    rows = [{"label": label, "energy": energy, "found": 2} for label, energy in energies.items()]

    def found(number):
        chosen = worth_finishing(rows, lambda row: structures[row["label"]], number, answer_settings())
        return [(row["label"], row["found"]) for row in chosen]

    assert found(9) == [("a", 6), ("other", 2), ("d", 2), ("last", 2)]  # d has another energy: it may be another phase
    assert found(2) == [("a", 6), ("other", 2)]
    assert found(1) == [("a", 6)]
    assert [row["found"] for row in rows] == [2] * 6


def test_the_lowest_of_other_known_types_are_added(answer_settings):
    """Their number is limited; copies, isopointal and unknown types are none."""
    types = [
        "GeP (tI4)",
        "unknown type",
        "GeP (tI4)",
        "isopointal with GeS",
        "",
        "α-SnS (SnS, oP8)",
        "GeS (oP8)",
        "ZnS",
    ]
    rows = [{"energy": -1 + n / 100, "found": 1, "type": name, "place": n} for n, name in enumerate(types)]
    structures = [bulk("NaCl", "rocksalt", a=5 + n / 2) for n in range(len(types))]

    def places(number):
        chosen = worth_finishing(rows, lambda row: structures[row["place"]], number, answer_settings())
        return [row["place"] for row in chosen]

    assert places(1) == [0, 5, 6]
    assert places(2) == [0, 1, 5, 6, 7]
    assert places(3) == [0, 1, 2, 5, 6, 7]
    assert places(8) == list(range(8))
