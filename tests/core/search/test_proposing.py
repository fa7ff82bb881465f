from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.spacegroup import crystal
from scipy.stats import chisquare

from aiida_fuse2.benchmarks.starts import evaluator, tier
from aiida_fuse2.core.crystal.symmetry import find_symmetry, primitive_cell, rattle, slicing_cell
from aiida_fuse2.core.crystal.uniqueness import are_equal
from aiida_fuse2.core.crystal.validity import check_validity, contact_thresholds
from aiida_fuse2.core.relaxers import relax
from aiida_fuse2.core.search.acceptance import Thermostat
from aiida_fuse2.core.search.choosing import Choices
from aiida_fuse2.core.search.draft import Draft
from aiida_fuse2.core.search.followups import add_followups, left_waiting
from aiida_fuse2.core.search.pool import ORIGIN, PoolReader
from aiida_fuse2.core.search.proposing import Proposer, propose
from aiida_fuse2.core.search.state import Best, FollowUp, SearchState, Walker
from aiida_fuse2.core.search.trials import RATTLE
from tests.core.crystals import perovskite, quartz, ruddlesden_popper
from tests.kernels import need_compiler

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


def test_symmetric_structures_keep_their_symmetry_without_a_pool(search_settings):
    settings = search_settings(starts="fgen", population_size=1, max_atoms=10, new_share=0.9, move_weights={14: 1})
    held = {START: perovskite()}
    trials = [t for n in range(1, 9) for t in propose(settings, state_at(n, n_walkers=4), held, None).trials]
    made = [t for t in trials if t.info.origin == "symmetric"]  # of moves; new structures are of fgen
    assert {t.info.origin for t in trials} == {"symmetric", "fgen"}
    assert all(t.info.symmetric_start and find_symmetry(t.atoms, 1e-3).n_rotations > 1 for t in made)


def test_population_takes_the_pool_first(search_settings):
    settings = search_settings(population_size=3, max_atoms=10, random_generator="fgen")
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


def test_moves_see_the_structures_of_the_other_walkers_and_their_distances(search_settings):
    settings = search_settings(max_atoms=20, walkers=3, symmetry={"symprec": 0.07, "rattle": 0.02})
    walkers = tuple(Walker(label, label, 0.0, Thermostat(0.02)) for label in ("a", "b", None))
    state = replace(state_at(n_walkers=3), walkers=walkers)
    structures = {"a": perovskite(), "b": perovskite().repeat((1, 1, 2)), "followup": perovskite()}
    proposer = Proposer(settings, state, None, structures)
    assert [[len(atoms) for atoms in proposer._context(index).others] for index in range(3)] == [[10], [5], [5, 10]]
    context = proposer._context(0)
    limits = contact_thresholds(["Sr", "Ti", "O"], settings.resolved_radii, settings.validity)
    assert context.contacts.keys() == limits.keys()
    assert context.contacts["Ti", "O"] == pytest.approx(limits["Ti", "O"] + 0.06)
    assert context.symprec == 0.07
    assert not context.plain
    paper = Proposer(search_settings(exclusion=1.0), state, None, structures)._context(0)
    assert paper.plain
    assert paper.exclusion == 1.0


@pytest.mark.parametrize("move", ["splice", "strain", "orbits", "subgroup", "decorate"])
def test_moves_with_words_make_trials_when_they_are_named(search_settings, move):
    settings = search_settings(max_atoms=20, walkers=4, move_weights={move: 1.0}, new_share=0)
    state = state_at(n_walkers=4)
    proposal = propose(settings, state, {START: perovskite()}, None)
    assert {trial.info.move for trial in proposal.trials} == {move}
    assert all(settings.unit.z_of(trial.atoms) for trial in proposal.trials)


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
        assert refusal is None, (trial.info, refusal)
        assert not trial.info.move or not are_equal(trial.atoms, before, stol=0.05), trial.info
        assert trial.info.parent == (START if trial.info.move not in {"", "13", "14"} else "")


@pytest.mark.parametrize(("move", "factor"), [("11", 2), ("12", 3)])
def test_supercell_moves_keep_their_lattice(search_settings, move, factor):
    settings = search_settings(max_atoms=15, walkers=4, move_weights={move: 1.0}, new_share=0)
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
    settings = search_settings(starts="fgen", max_atoms=10, walkers=1)
    trial = propose(settings, state_at(n_walkers=1, current=None), {}, None).trials[0]
    assert (trial.info.move, trial.info.parent, trial.info.origin) == ("", "", "fgen")


@pytest.mark.parametrize(("composition", "crystal"), [("SrTiO3", perovskite), ("SiO2", quartz)])
def test_moves_are_made_as_often_as_their_weights_say(search_settings, composition, crystal):
    """The paper's moves 2 and 9 fail ten times as often as move 1; drawn again after a failure, they would be rare."""
    weights = {"1": 2.0, "2": 1.0, "5": 1.0, "9": 2.0, "11": 1.0, "12": 3.0, "13": 1.0}
    settings = search_settings(
        composition,
        max_atoms=50,
        trials_per_step=5,
        max_structures=1000,
        move_weights=weights,
        new_share=0,
        exclusion=1.0,
    )
    atoms = primitive_cell(crystal(), 0.01)
    proposal = propose(settings, state_at(n_walkers=60), {START: atoms}, None)
    made = Counter(t.info.move for t in proposal.trials)
    given_up = sum(n for reason, n in proposal.rejections.items() if reason.startswith("gave_up_move"))
    assert proposal.rejections["short_contact"] > 100
    assert given_up <= 6
    usable = {name: weight for name, weight in weights.items() if made[name]}
    assert set(usable) == set(weights) - ({"12"} if 3 * len(slicing_cell(atoms, 0.1, 50)) > 50 else set())
    expected = np.array(list(usable.values())) * made.total() / sum(usable.values())
    assert chisquare([made[name] for name in usable], expected).pvalue > 0.001


def test_a_move_that_fails_is_given_up_and_another_is_made(search_settings):
    """In a crystal of one atom of each species nothing but the swap gives back the parent, again and again."""
    settings = search_settings(
        "NaCl",
        max_atoms=2,
        walkers=4,
        trials_per_step=2,
        move_weights={"1": 1.0, "13": 1.0},
        max_attempts=3,
        new_share=0,
    )
    parent = bulk("NaCl", "rocksalt", a=5.64)
    proposal = propose(settings, state_at(n_walkers=4), {START: parent}, None)
    assert {t.info.move for t in proposal.trials} <= {"13", ""}
    assert proposal.rejections["gave_up_move_1"] >= 2
    assert proposal.rejections["equal_to_parent"] >= 3 * proposal.rejections["gave_up_move_1"]
    alone = settings.model_copy(update={"move_weights": {"1": 1.0}})
    proposal = propose(alone, state_at(n_walkers=4), {START: parent}, None)
    assert proposal.rejections["no_move"] == 8  # and none of them is called a move
    assert {(t.info.move, t.info.parent) for t in proposal.trials} == {("", "")}


@pytest.mark.parametrize("share", [0.0, 0.25, 0.6])
def test_new_starts_have_their_share_by_turns(search_settings, share):
    settings = search_settings(walkers=20, trials_per_step=4, new_share=share)
    for walker in range(20):
        turns = []
        for generation in range(1, 11):
            choices = Choices(settings, state_at(generation))
            turns += [choices.is_new(walker, trial) for trial in range(4)]
        assert abs(sum(turns) - 40 * share) < 1
        assert all(abs(sum(turns[:n]) - n * share) <= 1 for n in range(40))
    first = [[Choices(settings, state_at()).is_new(w, t) for t in range(4)] for w in range(20)]
    assert share == 0 or len({tuple(one) for one in first}) > 1  # not all walkers together


def test_new_starts_come_from_the_generators_in_their_shares(search_settings):
    settings = search_settings(
        starts={"symmetric": 3, "fgen": 1},
        max_atoms=10,
        walkers=50,
        trials_per_step=2,
        new_share=0.5,
        max_structures=999,
    )
    pool = pool_with([perovskite() for _ in range(60)], settings.unit)
    trials = propose(settings, state_at(n_walkers=50), {START: perovskite()}, pool).trials
    new = [t.info for t in trials if not t.info.move]
    assert len(new) == 50
    assert {t.parent for t in new} == {""}
    assert 27 <= sum(t.origin == "symmetric" for t in new) <= 46
    assert {t.origin for t in new} == {"symmetric", "fgen"}


@pytest.mark.parametrize("bias", [0, 1, 2])
def test_sizes_of_new_structures_follow_the_bias(search_settings, bias):
    """Small cells are refused less often; a size is kept, so this does not make them more frequent."""
    settings = search_settings(
        starts="fgen", max_atoms=30, population_size=300, max_structures=999, size_bias=bias, max_attempts=100
    )
    trials = propose(settings, SearchState.initial(4, 0.02), {}, None).trials
    assert len(trials) == 300
    drawn = Counter(settings.unit.z_of(t.atoms) for t in trials)
    expected = np.arange(1, 7) ** -float(bias)
    expected *= 300 / expected.sum()
    assert chisquare([drawn[z] for z in range(1, 7)], expected).pvalue > 0.001


def test_a_supercell_is_not_reduced(search_settings):
    settings = search_settings(max_atoms=20, walkers=1, trials_per_step=8, new_share=0, move_weights={"1": 1.0})
    doubled = perovskite().repeat((1, 1, 2))
    state = state_at(n_walkers=1)
    sizes = [len(t.atoms) for t in propose(settings, state, {START: doubled}, None).trials]
    assert set(sizes) == {5}
    held = replace(state, walkers=(replace(state.walkers[0], supercell=True),))
    trials = propose(settings, held, {START: doubled}, None).trials
    assert {len(t.atoms) for t in trials} == {10}
    assert {t.info.parent for t in trials} == {START}
    tripled = settings.model_copy(update={"move_weights": {"12": 1.0}})
    assert propose(tripled, held, {START: doubled}, None).rejections["no_move"] == 8  # 30 atoms have no room


def test_new_structures_come_from_pool_and_random_generator_alike(search_settings):
    settings = search_settings(max_atoms=10, walkers=40, move_weights={13: 1.0}, random_generator="fgen", new_share=0)
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
    structures = {START: primitive_cell(parent, 0.01)}
    state = state_at(n_walkers=1, followups=(FollowUp(START, -8.0, 0),), best=Best(START, -8.0, 1))
    trials = propose(settings, state, structures, None).trials
    rattled = [t for t in trials if t.info.origin == RATTLE]
    assert sorted(len(t.atoms) for t in rattled) == [12, 24, 24, 24]
    assert all(t.info.parent == START and not t.info.symmetric_start for t in rattled)
    assert all(find_symmetry(t.atoms, 1e-3).n_rotations == 1 for t in rattled)
    assert len(trials) == 5  # and the walker's own
    assert len({t.info.label for t in trials}) == 5


def test_doubled_cells_are_those_of_the_crystal_not_of_its_last_displacements(search_settings):
    """A relaxation that ends at 0.05 eV/Å leaves atoms some 0.01 Å off their places, and seven doublings of a cube."""
    cell = rattle(perovskite(), 0.01, np.random.default_rng(2))
    assert find_symmetry(cell, 0.01).n_rotations == 1
    draft = Draft(search_settings("SrTiO3", max_atoms=10, walkers=1), state_at(n_walkers=1), None)
    add_followups(draft, (FollowUp(START, -8.0, 0, symmetric=False),), {START: cell})
    assert [len(t.atoms) for t in draft.proposal.trials] == [10, 10, 10]  # X, M and R


def test_rattled_copies_leave_a_saddle_point(search_settings):
    """Displacements of 0.05 Å take none of the copies of ideal β-cristobalite to bent bonds."""
    need_compiler()
    sites = [(0.125, 0.125, 0.125), (0, 0, 0)]
    ideal = crystal("SiO", sites, spacegroup=227, setting=2, cellpar=[7.4] * 3 + [90] * 3, primitive_cell=True)
    at_saddle = relax(ideal, evaluator(), tier(keep_symmetry=True))
    for seed in range(2):
        draft = Draft(search_settings("SiO2", seed=seed, max_atoms=12, walkers=1), state_at(n_walkers=1), None)
        add_followups(draft, (FollowUp(START, -8.0, 0),), {START: at_saddle.atoms})
        lowest = min(relax(trial.atoms, evaluator(), tier()).values["energy"] for trial in draft.proposal.trials)
        assert lowest < at_saddle.values["energy"] - 0.005


def test_doubled_cells_need_room(search_settings):
    settings = search_settings("Ca3Ti2O7", max_atoms=12, walkers=1)
    draft = Draft(settings, state_at(n_walkers=1), None)
    add_followups(draft, (FollowUp(START, -8.0, 0),), {START: primitive_cell(ruddlesden_popper(), 0.01)})
    assert [len(t.atoms) for t in draft.proposal.trials] == [12]


@pytest.mark.parametrize(("most", "made"), [(8, 6), (5, 5), (2, 2), (0, 0)])
def test_copies_are_bounded(search_settings, most, made):
    """A structure that was rattled before it was relaxed is at a minimum of its own cell: doubled cells alone."""
    settings = search_settings("Ca3Ti2O7", max_atoms=24, walkers=1, symmetry={"max_followups": most})
    draft = Draft(settings, state_at(n_walkers=1), None)
    parent = primitive_cell(ruddlesden_popper(), 0.01)
    followups = tuple(FollowUp(label, -8.0, 0, symmetric=False) for label in "ab")
    add_followups(draft, followups, {"a": parent, "b": parent})
    infos = [t.info for t in draft.proposal.trials]
    assert [t.parent for t in infos] == list("aaabbb")[:made]
    assert {len(t.atoms) for t in draft.proposal.trials} <= {24}
    assert [f.label for f in left_waiting(followups, infos, most)] == (["b"] if most == 2 else [])


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
