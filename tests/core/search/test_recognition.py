"""Trials that equal what was relaxed before."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from aiida_fuse2.core.crystal.symmetry import rattle
from aiida_fuse2.core.crystal.uniqueness import encode_fingerprint, fingerprint, match_structures
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.search.deciding import KnownStructure
from aiida_fuse2.core.search.recognition import ExploredIndex, known_candidates, recognise
from aiida_fuse2.core.search.trials import RATTLE, Trial, TrialInfo

ROCKSALT = bulk("MgO", "rocksalt", a=4.2, cubic=True)
ZINCBLENDE = bulk("MgO", "zincblende", a=4.6, cubic=True)


def row(label, atoms, *, status=CONVERGED, symmetric=False, duplicate_of="", energy=-6.0):
    vector = encode_fingerprint(fingerprint(atoms))
    return {
        "label": label,
        "status": status,
        "symmetric_start": symmetric,
        "duplicate_of": duplicate_of,
        "energy": energy,
        "fingerprint": vector,
    }


def trial(label, atoms, move="1", origin="move"):
    info = TrialInfo(
        label=label,
        generation=1,
        walker=0,
        trial=0,
        attempt=0,
        move=move,
        origin=origin,
        parent="",
        symmetric_start=False,
    )
    return Trial(info, atoms)


@pytest.fixture
def found():
    """What is recognised, with rocksalt and zincblende explored."""
    structures = {"rocksalt": ROCKSALT, "zincblende": ZINCBLENDE}

    def find(trials, rows=None):
        index = ExploredIndex()
        index.add_rows(rows or [row("rocksalt", ROCKSALT), row("zincblende", ZINCBLENDE, energy=-5.5)])
        geometries = structures | {t.info.label: t.atoms for t in trials}
        near = known_candidates(trials, index.relaxed)
        return recognise(near, lambda a, b: match_structures(geometries[a], geometries[b], stol=0.1))

    return find


def test_a_rattled_supercell_is_recognised(found):
    again = rattle(ROCKSALT.repeat((2, 1, 1)), 0.05, np.random.default_rng(1))
    assert found([trial("t", again)]) == {"t": KnownStructure("rocksalt", -6.0)}


def test_the_right_one_of_several(found):
    assert found([trial("t", ZINCBLENDE)]) == {"t": KnownStructure("zincblende", -5.5)}


def test_another_crystal_is_not_recognised(found):
    longer = ROCKSALT.copy()
    longer.set_cell(longer.cell * 1.1, scale_atoms=True)
    swapped = bulk("NaCl", "cesiumchloride", a=2.7)
    swapped.numbers[:] = (12, 8)
    assert found([trial("t", longer), trial("u", swapped)]) == {}


@pytest.mark.parametrize(("move", "origin"), [("", RATTLE), ("11", "move"), ("12", "move")])
def test_what_is_meant_to_be_equal_is_relaxed(found, move, origin):
    assert found([trial("t", ROCKSALT, move, origin)]) == {}


@pytest.mark.parametrize("change", [{"status": "step_limit"}, {"symmetric": True}])
def test_only_minima_are_known(found, change):
    assert found([trial("t", ROCKSALT)], [row("rocksalt", ROCKSALT, **change)]) == {}


def test_a_rattled_copy_that_comes_back_shows_a_minimum(found):
    rows = [
        row("rocksalt", ROCKSALT, symmetric=True),
        row("copy", ROCKSALT, duplicate_of="rocksalt", energy=-6.001),
        row("third", ROCKSALT, duplicate_of="rocksalt", energy=-6.002),
    ]
    assert found([trial("t", ROCKSALT)], rows) == {"t": KnownStructure("rocksalt", -6.001)}


def test_nothing_explored_nothing_known():
    assert known_candidates([trial("t", ROCKSALT)], ExploredIndex().relaxed) == {}
