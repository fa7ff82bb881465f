"""Merging of structures with one answer."""

from __future__ import annotations

from dataclasses import replace

from aiida_fuse2.core.answer.ladder import Rung
from aiida_fuse2.core.answer.phases import merge_phases
from tests.core.crystals import perovskite, quartz


def rung(atoms, energy, order, number=1):
    return Rung(number, f"group {number}", order, 0.1, energy, 0.0, 1, atoms)


def distorted(by):
    atoms = perovskite().repeat((2, 1, 1))
    atoms.positions[0] += [by, 0, 0]
    return atoms


def test_a_copy_that_did_not_reach_the_symmetry_is_merged(answer_settings):
    ladders = {
        "low": [rung(distorted(0.05), -8.4241, 0.1)],
        "high": [rung(perovskite(), -8.4236, 9.6, 221)],
        "far": [rung(distorted(0.9), -8.4241, 0.1)],
        "dear": [rung(perovskite(), -8.40, 9.6, 221)],
        "failed": [],
    }
    phases = merge_phases(ladders, answer_settings())
    assert {frozenset(phase.members) for phase in phases} == {
        frozenset({"low", "high"}),
        frozenset({"far"}),
        frozenset({"dear"}),
    }
    merged = next(phase for phase in phases if "high" in phase.members)
    assert merged.rungs[merged.answer].number == 221
    assert merged.source == ("high", 0)
    assert [phase.energy for phase in phases] == sorted(phase.energy for phase in phases)


def test_mirror_images_are_one_phase(answer_settings):
    mirrored = quartz()
    mirrored.set_cell(mirrored.cell.array * [1, 1, -1], scale_atoms=True)
    ladders = {"right": [rung(quartz(), -8.34, 0.67, 154)], "left": [rung(mirrored, -8.34, 0.67, 152)]}
    assert len(merge_phases(ladders, answer_settings())) == 1


def test_the_order_of_the_structures_does_not_matter(answer_settings):
    ladders = {str(i): [replace(rung(perovskite(), -8.42, 9.6, 221), energy=-8.42 + 3e-4 * i)] for i in range(4)}
    first = merge_phases(ladders, answer_settings())
    second = merge_phases(dict(reversed(ladders.items())), answer_settings())
    assert [phase.members for phase in first] == [phase.members for phase in second]
