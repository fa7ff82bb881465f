"""Relaxations in batches, in processes of their own: what shares them, and what ends them."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
import pytest
from ase.build import bulk

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.relaxers import evaluator_of, relax
from aiida_fuse2.core.relaxers.batch import HALVINGS
from aiida_fuse2.worker.batches import CPU_BYTES, relaxes_in_batches
from aiida_fuse2.worker.processes import Lost, WorkerError, stream_all
from aiida_fuse2.worker.relaxing import relax_all
from aiida_fuse2.worker.wall_time import OutOfTimeError, limited
from tests.trials import make_trial


def counting(piece):
    name, how = piece
    yield f"{name} 1"
    yield f"{name} 2"
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "fails":
        raise ValueError(name)
    if how == "refuses":
        raise InputError("field", name, "another")
    if how == "hangs":
        time.sleep(3600)
    yield f"{name} 3"


@pytest.mark.parametrize("count", [1, 2])
def test_everything_that_is_yielded_arrives(count):
    work = [("a", ""), ("b", "dies"), ("c", "fails"), ("d", "")]
    found = {}
    for piece, outcome in stream_all(counting, work, count):
        found.setdefault(piece[0], []).append(outcome)
    assert found["a"] == ["a 1", "a 2", "a 3"]
    assert found["b"] == ["b 1", "b 2", Lost("process_died", "its process was ended by SIGKILL")]
    assert found["c"] == ["c 1", "c 2", Lost("calculator_error", "ValueError: c")]
    assert found["d"] == ["d 1", "d 2", "d 3"]


def test_refused_input_ends_all_of_them():
    with pytest.raises(InputError, match="another"):
        list(stream_all(counting, [("a", "refuses")], 1))


def cannot(_piece):
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_that_cannot_begin_are_named():
    with pytest.raises(WorkerError, match="SIGKILL"):
        list(stream_all(counting, [("a", "")], 1, prepare=cannot))


def test_what_was_yielded_before_the_time_was_up_is_kept():
    found = []
    with limited(8.0), pytest.raises(OutOfTimeError, match="1 pieces"):
        found.extend(outcome for _, outcome in stream_all(counting, [("a", ""), ("b", "hangs")], 2))
    assert sorted(found) == ["a 1", "a 2", "a 3", "b 1", "b 2"]


@pytest.mark.parametrize(
    ("changes", "is_one"),
    [
        ({"backend": "torch"}, True),
        ({"device": "cuda"}, True),
        ({"device": "cuda", "backend": "torch"}, True),
        ({}, False),
        ({"backend": "native"}, False),
        ({"backend": "reference", "device": "cuda"}, False),
        ({"backend": "torch", "optimizer": "FIRE"}, False),
        ({"backend": "torch", "calculator": "ase.calculators.emt.EMT"}, False),
    ],
)
def test_batches_are_for_pytorch_and_the_own_optimiser(relax_settings, changes, is_one):
    assert relaxes_in_batches(relax_settings(**changes)) == is_one


CRYSTALS = {
    "NaCl": ("rocksalt", 5.5),
    "MgO": ("rocksalt", 4.3),
    "ZnS": ("zincblende", 5.3),
    "LiF": ("rocksalt", 4.1),
    "CsCl": ("cesiumchloride", 4.2),
    "CaO": ("rocksalt", 4.7),
}


def crystals():
    made = [bulk(formula, kind, a=edge) for formula, (kind, edge) in CRYSTALS.items()]
    for seed, atoms in enumerate(made):
        atoms.rattle(0.05, rng=np.random.default_rng(seed))
    return [make_trial(k, atoms) for k, atoms in enumerate(made)]


@pytest.fixture
def model(relax_settings):
    """The evaluator of the tests' processes, which are copies of this one."""
    pytest.importorskip("torch")
    pytest.importorskip("chgnet")
    if sys.platform != "linux":
        pytest.skip("other processes are not copies of this one")
    return evaluator_of


def observed(monkeypatch, evaluator, notes, strike=lambda _structures: None):
    """Let an evaluator note how many structures it is given, and how much memory, and strike first."""
    original = evaluator.evaluate_prepared

    def evaluate_prepared(structures):
        strike(structures)
        with notes.open("a") as file:
            file.write(f"{os.getpid()} {len(structures)} {sum(one.n_bytes for one in structures):.0f}\n")
        return original(structures)

    monkeypatch.setattr(evaluator, "evaluate_prepared", evaluate_prepared)


def noted(notes):
    return [tuple(int(word) for word in line.split()) for line in notes.read_text().splitlines()]


@pytest.mark.parametrize("share", [(1, 4.0), (1, 0.01), (2, 4.0)])
def test_relaxed_together_as_alone(relax_settings, model, monkeypatch, tmp_path, share):
    processes, batch_memory = share
    tier = relax_settings(backend="torch", processes=processes, batch_memory=batch_memory)
    notes = tmp_path / "notes"
    alone = [relax(trial.atoms, model(tier), tier) for trial in crystals()]
    observed(monkeypatch, model(tier), notes)
    found = {trial.info.trial: result for trial, result in relax_all(crystals(), tier)}
    assert sorted(found) == list(range(6))
    for number, expected in enumerate(alone):
        values = found[number].values
        assert found[number].status == "converged"
        assert HALVINGS not in values
        assert values["energy"] == pytest.approx(expected.values["energy"], abs=1e-4)
        assert values["volume"] == pytest.approx(expected.values["volume"], rel=1e-3)
        assert abs(values["evaluations"] - expected.values["evaluations"]) <= 2
    pids, sizes, taken = zip(*noted(notes), strict=True)
    assert len(set(pids)) <= processes
    assert os.getpid() not in pids
    limit = min(batch_memory * 1e9, CPU_BYTES)
    assert all(size == 1 or used <= limit for size, used in zip(sizes, taken, strict=True))
    assert (max(sizes) == 6) == (processes == 1 and batch_memory > 1)
    if processes == 1 and batch_memory < 1:
        assert 1 < max(sizes) < 6


def test_a_structure_that_ends_its_process_harms_no_other(relax_settings, model, monkeypatch, tmp_path, capfd):
    tier = relax_settings(backend="torch", processes=1)
    trials = crystals()

    def strike(structures):
        if any(55 in one.numbers for one in structures):
            os.kill(os.getpid(), signal.SIGKILL)

    observed(monkeypatch, model(tier), tmp_path / "notes", strike)
    found = {trial.info.trial: result for trial, result in relax_all(trials, tier)}
    cesium = list(CRYSTALS).index("CsCl")
    assert found[cesium].status == "process_died"
    assert "SIGKILL" in found[cesium].detail
    others = [found[k] for k in range(6) if k != cesium]
    assert [result.status for result in others] == ["converged"] * 5
    assert found[0].values[HALVINGS] == 1
    assert found[cesium + 1].values[HALVINGS] > 1
    errors = capfd.readouterr().err
    assert f"halves of a batch are tried, since its process was ended by SIGKILL: {trials[0].info.label}" in errors
