from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_fuse2.core.crystal.symmetry import find_symmetry
from aiida_fuse2.core.crystal.uniqueness import are_equal
from aiida_fuse2.core.crystal.validity import check_validity
from aiida_fuse2.core.search.acceptance import Thermostat
from aiida_fuse2.core.search.pool import ORIGIN, PoolReader
from aiida_fuse2.core.search.proposing import Proposer, propose
from aiida_fuse2.core.search.state import Best, FollowUp, SearchState, Walker
from aiida_fuse2.core.search.trials import RATTLE
from tests.core.crystals import perovskite, ruddlesden_popper

START = "g00000_w000_t000"


def state_at(generation=1, *, n_walkers=2, current=START, stale=0, **changes):
    walker = Walker(current, current, -8.0, Thermostat(0.02, stale))
    base = SearchState.initial(n_walkers, 0.02)
    return replace(base, generation=generation, tried=4, walkers=(walker,) * n_walkers, **changes)


def pool_with(structures, unit, origin="symmetric"):
    for atoms in structures:
        atoms.info[ORIGIN] = origin
    return PoolReader(unit, lambda: structures, {})


def test_population_without_a_pool_comes_from_the_random_generator(search_settings):
    settings = search_settings(starts="fgen", population_size=6, walkers=2, max_atoms=10)
    proposal = propose(settings, SearchState.initial(2, 0.02), {}, None)
    assert len(proposal.trials) == 6
    assert {t.info.origin for t in proposal.trials} == {"fgen"}
    assert {t.info.move for t in proposal.trials} == {""}
    assert len({t.info.label for t in proposal.trials}) == 6
    for trial in proposal.trials:
        assert settings.unit.z_of(trial.atoms) in (1, 2)
        assert find_symmetry(trial.atoms, 1e-3).n_rotations == 1  # rattled


def test_population_takes_the_pool_first(search_settings):
    settings = search_settings(population_size=3, max_atoms=10)
    pool = pool_with([perovskite()], settings.unit)
    proposal = propose(settings, SearchState.initial(4, 0.02), {}, pool)
    origins = [t.info.origin for t in proposal.trials]
    assert origins == ["symmetric", "fgen", "fgen"]
    assert proposal.trials[0].info.symmetric_start
    assert find_symmetry(proposal.trials[0].atoms, 1e-3).number == 221
    assert pool.remaining == 0


@pytest.mark.parametrize("name", ["fgen", "fgen_paper"])
def test_structures_of_random_generators_keep_no_symmetry(search_settings, name):
    """Whichever of them made a pool, and whichever the search itself uses."""
    settings = search_settings(population_size=1, max_atoms=10)
    proposal = propose(settings, SearchState.initial(4, 0.02), {}, pool_with([perovskite()], settings.unit, name))
    assert proposal.trials[0].info.origin == name
    assert not proposal.trials[0].info.symmetric_start
    assert find_symmetry(proposal.trials[0].atoms, 1e-3).n_rotations == 1


def test_initial_limit_holds(search_settings):
    settings = search_settings(starts="fgen", population_size=8, max_atoms=20, initial_max_atoms=5)
    proposal = propose(settings, SearchState.initial(1, 0.02), {}, None)
    assert {len(t.atoms) for t in proposal.trials} == {5}


def test_proposals_repeat_and_depend_on_the_seed(search_settings):
    structures = {START: perovskite()}
    settings = search_settings(max_atoms=10, walkers=2, trials_per_step=2)

    def positions(seed):
        changed = settings.model_copy(update={"seed": seed})
        return [t.atoms.positions for t in propose(changed, state_at(), structures, None).trials]

    first, second, other = positions(1), positions(1), positions(2)
    assert len(first) == 4
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(a.shape == b.shape and np.allclose(a, b) for a, b in zip(first, other, strict=True))


def test_trials_do_not_depend_on_other_walkers(search_settings):
    structures = {START: perovskite()}
    small = search_settings(max_atoms=10, walkers=1)
    large = search_settings(max_atoms=10, walkers=3)
    alone = propose(small, state_at(n_walkers=1), structures, None).trials[0]
    among = propose(large, state_at(n_walkers=3), structures, None).trials[0]
    assert np.array_equal(alone.atoms.positions, among.atoms.positions)


def test_walker_trials_are_valid_and_differ_from_their_parent(search_settings):
    weights = dict.fromkeys(range(1, 11), 1.0)
    settings = search_settings(max_atoms=20, walkers=6, trials_per_step=3, move_weights=weights)
    structures = {START: perovskite()}
    before = perovskite()
    trials = propose(settings, state_at(n_walkers=6), structures, None).trials
    assert len(trials) == 18
    assert np.array_equal(structures[START].positions, before.positions)
    for trial in trials:
        refusal = check_validity(
            trial.atoms, unit=settings.unit, radii=settings.resolved_radii, max_atoms=20, settings=settings.validity
        )
        assert refusal is None or not trial.info.move, (trial.info, refusal)
        assert not are_equal(trial.atoms, before, stol=0.05), trial.info
        assert trial.info.parent == (START if trial.info.move not in {"13", "14"} else "")


@pytest.mark.parametrize(("move", "factor"), [("11", 2), ("12", 3)])
def test_supercell_moves_keep_their_lattice(search_settings, move, factor):
    settings = search_settings(max_atoms=15, walkers=4, move_weights={move: 1.0})
    trials = propose(settings, state_at(n_walkers=4), {START: perovskite()}, None).trials
    made = [t for t in trials if t.info.move == move]
    assert len(made) == 4
    assert {len(t.atoms) for t in made} == {5 * factor}


def test_melted_walker_uses_its_own_weights(search_settings):
    settings = search_settings(max_atoms=10, walkers=1, move_weights={1: 1.0}, melted_move_weights={2: 1.0})
    cold = propose(settings, state_at(n_walkers=1), {START: perovskite()}, None).trials[0]
    melted = propose(settings, state_at(n_walkers=1, stale=150), {START: perovskite()}, None).trials[0]
    assert (cold.info.move, melted.info.move) == ("1", "2")


def test_walker_without_structure_gets_a_new_one(search_settings):
    settings = search_settings(max_atoms=10, walkers=1)
    trial = propose(settings, state_at(n_walkers=1, current=None), {}, None).trials[0]
    assert (trial.info.move, trial.info.parent) == ("14", "")


def test_new_structures_come_from_pool_and_random_generator_alike(search_settings):
    settings = search_settings(max_atoms=10, walkers=40, move_weights={13: 1.0})
    swapped = perovskite()  # equal to the parent would not be a trial
    swapped.numbers[[0, 1]] = swapped.numbers[[1, 0]]
    pool = pool_with([swapped.copy() for _ in range(60)], settings.unit)
    trials = propose(settings, state_at(n_walkers=40), {START: perovskite()}, pool).trials
    n_pool = sum(t.info.origin == "symmetric" for t in trials)
    assert 8 <= n_pool <= 32
    assert pool.remaining <= 60 - n_pool


def test_budget_cuts_the_generation(search_settings):
    settings = search_settings(max_atoms=10, walkers=4, max_structures=6)
    assert len(propose(settings, state_at(n_walkers=4), {START: perovskite()}, None).trials) == 2


@pytest.mark.parametrize(("budget", "is_cut"), [(5, True), (6, False), (7, False)])
def test_cut_generation_is_known(search_settings, budget, is_cut):
    settings = search_settings(starts="fgen", max_structures=budget, max_atoms=10, walkers=2, population_size=2)
    proposal = propose(settings, state_at(), {START: perovskite()}, None)
    assert (len(proposal.trials), proposal.cut) == (min(budget - 4, 2), is_cut)
    first = propose(
        search_settings(starts="fgen", max_structures=budget, population_size=6),
        SearchState.initial(2, 0.02),
        {},
        None,
    )
    assert (len(first.trials), first.cut) == (min(budget, 6), is_cut)


def test_followups_are_rattled_in_cell_and_doubled_cells(search_settings):
    parent = ruddlesden_popper()
    settings = search_settings("Ca3Ti2O7", max_atoms=24, walkers=1)
    from aiida_fuse2.core.crystal.symmetry import primitive_cell

    structures = {START: primitive_cell(parent, 0.01)}
    state = state_at(n_walkers=1, followups=(FollowUp(START, -8.0, 0),), best=Best(START, -8.0, 1))
    trials = propose(settings, state, structures, None).trials
    rattled = [t for t in trials if t.info.origin == RATTLE]
    assert sorted(len(t.atoms) for t in rattled) == [12, 24, 24, 24]
    assert all(t.info.parent == START and not t.info.symmetric_start for t in rattled)
    assert all(find_symmetry(t.atoms, 1e-3).n_rotations == 1 for t in rattled)
    assert len(trials) == 5  # and the walker's own
    assert len({t.info.label for t in trials}) == 5


def test_doubled_cells_need_room(search_settings):
    settings = search_settings("Ca3Ti2O7", max_atoms=12, walkers=1)
    proposer = Proposer(settings, state_at(n_walkers=1), None)
    from aiida_fuse2.core.crystal.symmetry import primitive_cell

    proposer.add_followups((FollowUp(START, -8.0, 0),), {START: primitive_cell(ruddlesden_popper(), 0.01)})
    assert [len(t.atoms) for t in proposer.proposal.trials] == [12]


def test_proposals_keep_to_a_known_cell(search_settings):
    """Starts are in it, and no move that is drawn leads to another cell, although many would be possible."""
    size = perovskite().cell.lengths()[0]
    known = {"cell": [size] * 3 + [90] * 3, "z": 1}
    settings = search_settings(starts="fgen", population_size=4, max_atoms=20, walkers=2, known=known)
    for trial in propose(settings, SearchState.initial(2, 0.02), {}, None).trials:
        assert trial.atoms.get_volume() == pytest.approx(size**3, rel=0.07)
        assert len(trial.atoms) == 5
    moves = set()
    for generation in range(1, 9):
        proposal = propose(settings, state_at(generation), {START: perovskite()}, None)
        moves |= {trial.info.move for trial in proposal.trials}
        assert {len(trial.atoms) for trial in proposal.trials} == {5}
    assert len(moves) > 3
    assert not moves & {"9", "11", "12"}


def test_rejected_attempts_are_counted(search_settings):
    settings = search_settings(
        max_atoms=5,
        walkers=1,
        move_weights={7: 1.0},
        random_generator="fgen_paper",
        validity={"contact_factor": 1.0},
    )
    proposal = propose(settings, state_at(n_walkers=1), {START: perovskite()}, None)
    assert sum(proposal.rejections.values()) >= settings.max_attempts
