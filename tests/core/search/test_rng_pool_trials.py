from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.rng import Purpose, keyed_generator
from aiida_fuse2.core.search.pool import POOL_NUMBER, PoolReader
from aiida_fuse2.core.search.state import Best, FollowUp, LowStructure, SearchState
from aiida_fuse2.core.search.trials import Trial, TrialInfo, generation_of_label, trial_label
from aiida_fuse2.io.trials import from_extxyz, to_extxyz, trials_from_text, trials_to_text
from tests.core.crystals import perovskite, quartz


def test_streams_are_independent_and_repeatable():
    keys = [
        {"walker": w, "generation": g, "trial": t, "attempt": a}
        for w in (0, 1)
        for g in (0, 1)
        for t in (0, 1)
        for a in (0, 1)
    ]
    drawn = {tuple(keyed_generator(7, p, **key).random(3)) for p in Purpose for key in keys}
    assert len(drawn) == len(keys) * len(Purpose)
    assert keyed_generator(7, Purpose.MOVE, walker=1).random() == keyed_generator(7, Purpose.MOVE, walker=1).random()
    assert keyed_generator(7, Purpose.MOVE).random() != keyed_generator(8, Purpose.MOVE).random()


def pool_of(sizes, number=0):
    structures = []
    for rank, z in enumerate(sizes):
        atoms = perovskite() * (z, 1, 1)
        atoms.info = {"rank": rank, POOL_NUMBER: number}
        structures.append(atoms)
    return structures


def reader(structures, positions=None, number=0):
    return PoolReader(parse_composition("SrTiO3"), lambda: structures, positions or {}, number)


def test_pool_draws_the_best_that_fits():
    pool = reader(pool_of([2, 1, 3, 1]))
    assert pool.remaining == 4
    assert [pool.draw(limit).info["rank"] for limit in (5, 10, 15)] == [1, 0, 2]
    assert pool.positions == {1: 1, 2: 1, 3: 1}
    assert pool.draw(5).info["rank"] == 3
    assert pool.draw(50) is None
    assert pool.remaining == 0


def test_pool_goes_on_where_it_was():
    structures = pool_of([1, 1, 1])
    first = reader(structures)
    first.draw(5)
    second = reader(structures, positions=dict(first.positions))
    assert second.draw(5).info["rank"] == 1
    assert second.remaining == 1


def test_random_draws_take_each_of_the_others_once_wherever_it_goes_on():
    structures = pool_of([1, 2, 1, 1, 2, 1, 1])
    pool = reader(structures)
    taken = [pool.draw(5).info["rank"]]
    while (drawn := pool.draw_at_random(10)) is not None:
        taken.append(drawn.info["rank"])
        assert sorted(taken + [atoms.info["rank"] for atoms in pool.left()]) == list(range(7))
        pool = reader(structures, positions=dict(pool.positions))  # as after a restart
    assert sorted(taken) == list(range(7))
    assert taken != sorted(taken)
    assert pool.remaining == 0
    assert reader(pool_of([2])).draw_at_random(5) is None


def test_random_order_follows_the_seed():
    def order(seed):
        pool = PoolReader(parse_composition("SrTiO3"), lambda: pool_of([1] * 8), {}, seed=seed)
        return [pool.draw_at_random(5).info["rank"] for _ in range(8)]

    assert order(1) == order(1) != order(2)


def test_what_is_left_is_in_order():
    pool = reader(pool_of([2, 1, 3, 1]))
    pool.draw(5)
    assert [atoms.info["rank"] for atoms in pool.left()] == [0, 2, 3]


def test_new_pool_starts_from_its_head():
    pool = reader(pool_of([1, 1], number=1), positions={1: 2}, number=0)
    assert pool.remaining == 2
    assert pool.number == 1


def test_pool_hands_out_copies():
    structures = pool_of([1])
    reader(structures).draw(5).positions[:] = 0
    assert not np.allclose(structures[0].positions, 0)


def info(**changes):
    values = dict(  # noqa: C408
        label=trial_label(3, 1, 2),
        generation=3,
        walker=1,
        trial=2,
        attempt=4,
        move="7",
        origin="move",
        parent="",
        symmetric_start=True,
    )
    return TrialInfo(**{**values, **changes})


def test_trials_survive_their_file():
    trials = [
        Trial(info(), perovskite()),
        Trial(info(label="x", parent="g00001_w000_t000", symmetric_start=False), quartz()),
        Trial(info(label="y", move="", origin="rattle"), quartz()),
        Trial(info(label="z", move="twin"), quartz()),
    ]
    back = trials_from_text(trials_to_text(trials))
    assert [t.info for t in back] == [t.info for t in trials]
    for a, b in zip(back, trials, strict=True):
        assert np.allclose(a.atoms.positions, b.atoms.positions, atol=1e-7)
        assert np.allclose(a.atoms.cell.array, b.atoms.cell.array, atol=1e-7)
        assert a.atoms.get_chemical_symbols() == b.atoms.get_chemical_symbols()


@pytest.mark.parametrize(("stored", "name"), [(0, ""), (1, "1"), (14, "14"), (15, "")])
def test_trials_of_earlier_versions_had_numbers(stored, name):
    (old,) = from_extxyz(to_extxyz([(perovskite(), {**info().to_dict(), "move": stored})]))
    assert TrialInfo.from_dict(old.info).move == name


def test_state_of_earlier_versions_counted_what_no_move_made():
    values = {**SearchState.initial(1, 0.02).to_dict(), "moves": {"0": [4, 0], "7": [3, 1], "15": [2, 1]}}
    assert SearchState.from_dict(values).moves == {"7": (3, 1)}


def test_labels_have_no_double_underscore():
    assert "__" not in trial_label(99999, 999, 999)


def test_files_of_nothing():
    assert to_extxyz([]) == ""
    assert from_extxyz("") == []


def test_one_atom_structure_survives():
    back = from_extxyz(to_extxyz([(Atoms("Po", cell=[3, 3, 3], pbc=True), {"label": "only"})]))
    assert len(back) == 1
    assert back[0].info["label"] == "only"


@pytest.mark.parametrize("best", [None, Best("g", -1.0, 3)])
def test_state_survives_plain_values(best):
    import json
    from dataclasses import replace

    state = replace(
        SearchState.initial(3, 0.02),
        best=best,
        followups=(FollowUp("g", -1.0, 2),),
        pool_positions={2: 5},
        moves={"7": (3, 1), "10": (2, 0), "twin": (1, 1)},
        failures={"step_limit": 2},
        lowest=(LowStructure(-1.0, "g", 5),),
        restarts={"stuck": 2},
    )
    assert SearchState.from_dict(json.loads(json.dumps(state.to_dict()))) == state


def test_label_tells_its_generation():
    assert generation_of_label(trial_label(12, 3, 0)) == 12
    assert generation_of_label(trial_label(123456, 3, 0)) == 123456
