"""Targets: recognised in any cell, at the right number, with the right displacement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.crystal.uniqueness import fingerprint
from aiida_fuse2.core.search.deciding import Relaxation, decide
from aiida_fuse2.core.search.state import FoundTarget, SearchState
from aiida_fuse2.core.search.targets import ExploredStructure, TargetFinder, relaxed_cell, target_trial
from aiida_fuse2.core.search.trials import TrialInfo
from tests.core.crystals import perovskite as cubic

STOL = 0.1


def explored(structures):
    return [ExploredStructure(str(n), n, -float(n), fingerprint(atoms)) for n, atoms in enumerate(structures, start=1)]


def finder(target, structures, stol=STOL):
    return TargetFinder({"known": target}, lambda label: structures[int(label) - 1], stol)


def swapped(atoms):
    other = atoms.copy()
    other.numbers[[0, 1]] = other.numbers[[1, 0]]
    return other


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), size=st.sampled_from([(1, 1, 1), (2, 1, 1), (1, 1, 2)]))
def test_found_in_any_cell_of_it(seed, size):
    target = cubic()
    rng = np.random.default_rng(seed)
    moved = target.repeat(size)
    moved.positions += rng.normal(scale=0.02, size=moved.positions.shape)
    moved.rotate(37, "z", rotate_cell=True)
    structures = [swapped(target), moved, target]
    found = finder(target, structures).first("known", explored(structures))
    assert (found.label, found.structure_number, found.energy) == ("2", 2, -2.0)
    assert 0 < found.rms < 0.06


def test_displacement_is_in_angstrom(perovskite):
    moved = perovskite.copy()
    moved.positions[2, 2] += 0.1
    found = finder(perovskite, [moved]).first("known", explored([moved]))
    assert found.rms == pytest.approx(0.1 * np.sqrt(0.8 / 5), rel=0.15)  # of which the mean is taken out


@pytest.mark.parametrize(("scale", "stol", "is_found"), [(1.0, 0.1, True), (1.02, 0.1, True), (1.15, 0.1, False)])
def test_size_counts(perovskite, scale, stol, is_found):
    other = perovskite.copy()
    other.set_cell(other.cell.array * scale, scale_atoms=True)
    assert (finder(perovskite, [other], stol).first("known", explored([other])) is not None) == is_found


def test_wider_tolerance_finds_more(perovskite):
    moved = perovskite.copy()
    moved.positions[2] += (0.0, 0.25, 0.55)
    assert finder(perovskite, [moved], 0.05).first("known", explored([moved])) is None
    assert finder(perovskite, [moved], 0.3).first("known", explored([moved])) is not None


def test_what_was_found_stays(perovskite):
    before = {"known": FoundTarget("g00000_w000_t000", 1, -3.0, 0.01)}
    assert finder(perovskite, [perovskite]).add_found(before, explored([perovskite])) == before


def test_target_is_relaxed_in_its_primitive_cell(perovskite):
    trial = target_trial("known", 0, perovskite.repeat((2, 2, 1)), 0.01)
    assert (trial.info.label, trial.info.origin, len(trial.atoms)) == ("target_known", "target", 5)
    broken = perovskite.copy()
    broken.positions[1] = broken.positions[0]
    assert len(relaxed_cell(broken, 0.01)) == 5


def test_state_holds_what_was_found(search_settings, perovskite):
    settings = search_settings(walkers=2)
    state = replace(SearchState.initial(2, 0.02), tried=7)
    infos = [
        TrialInfo(label=f"t{n}", generation=0, walker=0, trial=n, attempt=0, move=0, origin="x", parent="",
                  symmetric_start=False)
        for n in range(3)
    ]  # fmt: skip
    structures = {"t0": perovskite, "t1": swapped(perovskite), "t2": perovskite}
    relaxations = {
        label: Relaxation(
            "converged" if label != "t0" else "max_steps",
            {"energy": -1.0, "n_atoms": len(atoms), "spacegroup_loose": 221},
            fingerprint(atoms),
        )
        for label, atoms in structures.items()
    }
    decision = decide(
        settings, state, infos, relaxations, candidates={}, same=lambda *_: False, pool=(0, {}, 0), rejections={},
        n_atoms={info.label: 5 for info in infos},
        targets=TargetFinder({"known": perovskite}, structures.__getitem__, STOL),
    )  # fmt: skip
    assert decision.state.targets == {"known": FoundTarget("t2", 10, -1.0, 0.0)}
    assert SearchState.from_dict(decision.state.to_dict()) == decision.state
    earlier = decision.state.to_dict()
    del earlier["targets"]  # of a search made before there were targets
    assert SearchState.from_dict(earlier).targets == {}
