"""Pools, learned potentials and trained networks that are not what they should be."""

from __future__ import annotations

import json

import numpy as np
import pytest
from aiida import orm
from ase.build import bulk

from aiida_fuse2.core.potentials.megnet.archive import make_archive
from aiida_fuse2.core.training.pair_settings import LearnSettings
from aiida_fuse2.io.names import FRAMES_FILE, POOL_FILE, POTENTIAL_FILE, SUMMARY_FILE, TRAINED_FILE
from aiida_fuse2.io.trials import from_extxyz, to_extxyz
from aiida_fuse2.launch.potentials import learning_inputs
from tests.core.potentials.megnet.models import CONFIG, HDF5
from tests.tiered import MORSE

REFUSED, UNREADABLE = 322, 410


@pytest.fixture
def parse_pool(parse, search_settings, tmp_path):
    """A function that parses a pool of Cu3Au of three structures, after a change."""

    def run(change=None, **counts):
        frames = []
        for rank in range(3):
            atoms = bulk("Cu", "fcc", a=3.8 + 0.1 * rank, cubic=True)
            atoms.numbers[0] = 79
            frames.append((atoms, {"origin": "fgen", "pool_number": 0, "rank": rank}))
        if change is not None:
            change(frames)
        (tmp_path / POOL_FILE).write_text(to_extxyz(frames))
        summary = {"kept": 3, "tried": 5, "rejected": {"short_contact": 2}} | counts
        (tmp_path / SUMMARY_FILE).write_text(json.dumps(summary))
        settings = search_settings("Cu3Au", max_atoms=8).model_dump(mode="json")
        return parse("fuse2.generate", {"settings": orm.Dict(settings), "pool_number": orm.Int(0)})

    return run


def test_a_good_pool_is_taken_as_it_is(parse_pool, tmp_path):
    outputs, code = parse_pool()
    assert code is None
    assert outputs["pool"].get_content() == (tmp_path / POOL_FILE).read_text()
    assert outputs["summary"]["tried"] == 5


def _other_atoms(frames):
    frames[1][0].numbers[0] = 29


def _too_large(frames):
    frames[1] = (frames[1][0].repeat((3, 1, 1)), frames[1][1])


def _not_finite(frames):
    frames[1][0].cell[0, 0] = np.nan


def _other_pool(frames):
    frames[1][1]["pool_number"] = "x"


def _no_origin(frames):
    del frames[1][1]["origin"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_other_atoms, "wrong_composition"),
        (_too_large, "too_many_atoms"),
        (_not_finite, "bad_cell"),
        (_other_pool, "unknown_origin"),
        (_no_origin, "unknown_origin"),
    ],
)
def test_a_bad_structure_of_a_pool_costs_no_other(parse_pool, change, reason):
    outputs, code = parse_pool(change)
    assert code.status == REFUSED
    assert outputs["summary"]["refused"] == {reason: 1}
    assert outputs["summary"]["kept"] == 2
    assert [atoms.info["rank"] for atoms in from_extxyz(outputs["pool"].get_content())] == [0, 2]


def test_a_pool_without_one_good_structure_is_none(parse_pool):
    outputs, code = parse_pool(lambda frames: [atoms.numbers.fill(29) for atoms, _ in frames])
    assert (dict(outputs), code.status) == ({}, REFUSED)
    assert "wrong_composition" in code.message


@pytest.mark.parametrize(
    "counts",
    [{"kept": "3"}, {"kept": None}, {"tried": -1}, {"rejected": [1]}, {"ranking": 1}, {"rejected": {"x": "many"}}],
)
def test_a_summary_without_counts_is_none(parse_pool, counts):
    outputs, code = parse_pool(**counts)
    assert (dict(outputs), code.status) == ({}, UNREADABLE)
    assert "summary.json" in code.message


@pytest.mark.parametrize("field", ["rejected", "best"])
def test_texts_of_a_summary_are_such_as_every_database_takes(parse_pool, field):
    outputs, code = parse_pool(**{field: {"no\0": 1}})
    assert code is None
    assert outputs["summary"][field] == {r"no\x00": 1}


@pytest.fixture
def parse_learned(parse, tmp_path):
    """A function that parses learned potentials of CuAu."""
    inputs = learning_inputs("CuAu", None, {"relax": {"calculator": "ase.calculators.emt.EMT"}})
    formula = LearnSettings.model_validate(inputs["settings"]).unit.formula

    def run(library=MORSE, frames=None, **report):
        (tmp_path / POTENTIAL_FILE).write_text(library)
        (tmp_path / FRAMES_FILE).write_text(to_extxyz([(bulk("Cu"), {})]) if frames is None else frames)
        (tmp_path / SUMMARY_FILE).write_text(json.dumps({"composition": formula, "frames": 1} | report))
        return parse("fuse2.learn_potential", {key: orm.Dict(inputs[key]) for key in ("settings", "relax")})

    return run


def test_learned_potentials_are_read_before_they_are_taken(parse_learned):
    outputs, code = parse_learned()
    assert code is None
    assert outputs["potential"].get_content() == MORSE
    assert set(outputs) == {"potential", "report", "frames"}
    for changes in (
        {"library": "nonsense"},
        {"library": MORSE.replace("Au Au", "Cu Cu")},
        {"composition": "../../CuAu"},
        {"frames": "garbage"},
        {"error": float("nan")},
    ):
        outputs, code = parse_learned(**changes)
        assert (dict(outputs), code.status) == ({}, UNREADABLE), changes


def test_a_trained_network_is_read_before_it_is_taken(parse, tmp_path):
    archive = make_archive(HDF5, CONFIG, elements=("Na", "Cl"), source="test")

    def run(data, digest=archive.digest):
        (tmp_path / TRAINED_FILE).write_bytes(data)
        (tmp_path / SUMMARY_FILE).write_text(json.dumps({"weights_sha256": digest}))
        return parse("fuse2.train", {})

    outputs, code = run(archive.to_bytes())
    assert (set(outputs), code) == ({"summary", "weights"}, None)
    for wrong in ((b"no zip",), (archive.to_bytes()[:-40],), (archive.to_bytes(), "0" * 64)):
        outputs, code = run(*wrong)
        assert (dict(outputs), code.status) == ({}, UNREADABLE)
