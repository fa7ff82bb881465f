"""The policy on landscapes made by hand, where it is known which arm pays."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_fuse2.core.moves import get_move
from aiida_fuse2.core.search.choosing import Choices
from aiida_fuse2.core.search.policy import INHERITED, LEAST_COST, MOST_COST, Arm, Learned, TrialResult, update, weights
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.protocols import protocol_inputs

SEEDS = 20
BATCH = 16
MOVES = dict.fromkeys(map(str, range(1, 15)), 1.0)
SIZES = {str(z): 1 / z for z in range(1, 11)}


def settings_of(policy="bandit", **bandit):
    inputs = protocol_inputs("fast", {"settings": {"policy": policy, "bandit": bandit}})
    return parse_settings(SearchSettings, {**inputs["settings"], "composition": "SrTiO3"})


SETTINGS = settings_of()


def result(arm="1", energy=-8.0, *, kind="move", is_new=True, cost=100.0):
    return TrialResult(arms={kind: arm} if arm else {}, energy=energy, is_new=is_new, cost=cost)


def trial(kind, arm, chance, cost, rng):
    """Return a trial that fails, repeats, or gives a low structure with a chance, otherwise one of high energy."""
    drawn = rng.random()
    if drawn > 0.8:
        return result(arm, None if drawn > 0.9 else -8.0, kind=kind, is_new=False, cost=cost)
    energy = -8 + (rng.uniform(0, 0.05) if rng.random() < chance else rng.uniform(0.3, 1.5))
    return result(arm, energy, kind=kind, cost=cost)


def play(settings, kind, prior, chance, seed, *, batches=13, cost=lambda _: 1, learned=None):
    """Return the chosen arms in their order, and what was learned.

    Args:
        settings: with or without a bandit.
        kind: kind of the arms.
        prior: their weights.
        chance: function of arm and number of the trial that returns the chance of a low structure.
        seed: of the trials, and of the choices.
        batches: number of generations.
        cost: function of an arm that returns the mean cost.
        learned: what is known at the beginning.
    """
    rng = np.random.default_rng(seed)
    learned, best, chosen = learned or Learned(), None, []
    for _ in range(batches):
        results = []
        found = weights(kind, prior, learned, settings, rng)
        for arm in rng.choice(list(found), BATCH, p=np.array(list(found.values())) / sum(found.values())).tolist():
            results.append(trial(kind, arm, chance(arm, len(chosen)), cost(arm) * rng.lognormal(4, 0.7), rng))
            chosen.append(arm)
        learned = update(learned, results, best, settings)
        best = min([r.energy for r in results if r.energy is not None] + ([] if best is None else [best]))
    return chosen, learned


def share(arm, settings, kind, prior, chance, *, last=48, **options):
    """Return how often an arm was chosen in the last trials, in the mean over the seeds."""
    runs = [play(settings, kind, prior, chance, seed, **options)[0] for seed in range(SEEDS)]
    return np.mean([run[-last:].count(arm) / last for run in runs])


def one_good_move(arm, _):
    return 0.4 if arm == "6" else 0.05


def test_one_good_move_of_fourteen_is_learned_within_200_trials():
    assert share("6", SETTINGS, "move", MOVES, one_good_move) > 0.45
    assert share("6", settings_of("fixed"), "move", MOVES, one_good_move) == pytest.approx(1 / 14, abs=0.03)


def test_one_good_size_of_ten_is_learned_within_200_trials():
    """Cells of ten formula units cost ten times as much as those of one."""
    chances = {"4": 0.8, "1": 0.02}
    options = {"kind": "size", "prior": SIZES, "chance": lambda z, _: chances.get(z, 0.1), "cost": float}
    assert share("4", SETTINGS, **options) > 0.6
    assert share("4", settings_of("fixed"), **options) == pytest.approx(0.25 / sum(SIZES.values()), abs=0.03)


def test_what_costs_more_must_find_more():
    """Two generators: one finds twice as often, and costs five times as much."""
    options = {
        "kind": "generator",
        "prior": {"dear": 1, "cheap": 1},
        "chance": lambda a, _: 0.4 if a == "dear" else 0.2,
    }
    assert share("cheap", SETTINGS, **options, cost=lambda arm: 5 if arm == "dear" else 1) > 0.7
    assert share("dear", SETTINGS, **options) > 0.6


def change_after(first):
    """Return chances with which move 6 pays for a number of trials, and then move 11."""
    return lambda arm, number: 0.4 if arm == ("6" if number < first else "11") else 0.05


def test_a_change_is_learned_within_200_trials():
    assert share("11", SETTINGS, "move", MOVES, change_after(208), batches=26) > 0.25
    assert share("11", SETTINGS, "move", MOVES, change_after(208), batches=39) > 0.6


def test_without_discount_a_late_change_is_not_noticed():
    shares = [share("11", s, "move", MOVES, change_after(832), batches=65) for s in (SETTINGS, settings_of(discount=1))]
    assert shares[0] > 0.12
    assert shares[1] < 0.04


def test_what_only_repeats_itself_is_left():
    """Structures of the lowest energy that are known do not count."""
    rng, learned = np.random.default_rng(2), Learned()
    for _ in range(10):
        batch = [result("9", is_new=False) for _ in range(8)] + [result("3", -8 + 0.01 * i) for i in range(8)]
        learned = update(learned, batch, -8.0, SETTINGS)
    found = weights("move", {"3": 1, "9": 1}, learned, SETTINGS, rng)
    assert found["9"] == pytest.approx(SETTINGS.bandit.floor)  # of the sum of 2, half of the floor of each
    assert learned.arms["move"]["9"].successes == 0 < learned.arms["move"]["3"].successes


def test_fixed_policy_draws_nothing_and_learns_nothing():
    settings, rng = settings_of("fixed"), np.random.default_rng(4)
    before = rng.bit_generator.state
    known = Learned({"move": {"1": Arm(9, 9, 9)}})
    assert weights("move", MOVES, known, settings, rng) == MOVES
    assert rng.bit_generator.state == before
    assert update(Learned(), [result()], None, settings) == Learned()


def test_nothing_known_is_as_fixed():
    rng = np.random.default_rng(4)
    assert weights("size", SIZES, Learned(), SETTINGS, rng) == SIZES
    assert weights("move", {"1": 3.0, "2": 0.0}, Learned({"move": {"2": Arm(9, 9, 9)}}), SETTINGS, rng) == {
        "1": 3,
        "2": 0,
    }


ARMS = st.dictionaries(
    st.sampled_from(sorted(MOVES)), st.builds(Arm, *[st.floats(0, 200)] * 3), min_size=1, max_size=14
)


@given(
    arms=ARMS,
    priors=st.lists(st.sampled_from([0.0, 0.1, 1.0, 40.0]), min_size=14, max_size=14),
    seed=st.integers(0, 99),
)
def test_every_arm_keeps_its_floor(arms, priors, seed):
    prior = dict(zip(MOVES, priors, strict=True))
    learned = Learned({"move": arms})
    found = weights("move", prior, learned, SETTINGS, np.random.default_rng(seed))
    assert sum(found.values()) == pytest.approx(sum(prior.values()))
    assert all(found[name] >= SETTINGS.bandit.floor * weight * (1 - 1e-9) for name, weight in prior.items())
    assert all(found[name] == 0 for name, weight in prior.items() if weight == 0)
    assert found == weights("move", prior, learned, SETTINGS, np.random.default_rng(seed))


def test_weights_of_the_user_count():
    """Two arms of equal success, one with four times the weight."""
    learned = Learned({"move": {"1": Arm(50, 10, 50), "2": Arm(50, 10, 50)}})
    drawn = [weights("move", {"1": 4, "2": 1}, learned, SETTINGS, np.random.default_rng(s))["1"] for s in range(20)]
    assert np.mean(drawn) == pytest.approx(4, abs=0.1)


RESULTS = st.lists(
    st.builds(
        result,
        st.sampled_from(["", "1", "2", "14"]),
        st.none() | st.floats(-9, 3),
        kind=st.sampled_from(["move", "size", "generator"]),
        is_new=st.booleans(),
        cost=st.none() | st.integers(0, 10**6),
    ),
    max_size=16,
)


@given(results=RESULTS, best=st.none() | st.floats(-9, -5), order=st.randoms(use_true_random=False))
def test_order_within_a_generation_does_not_matter(results, best, order):
    before = play(SETTINGS, "move", MOVES, one_good_move, 1, batches=1)[1]
    shuffled = list(results)
    order.shuffle(shuffled)
    after = update(before, results, best, SETTINGS)
    assert update(before, shuffled, best, SETTINGS) == after
    assert Learned.from_dict(json.loads(json.dumps(after.to_dict()))) == after


def test_scales_do_not_matter():
    """Other units of energy, another zero and dearer evaluations give the same successes and weights."""
    rng = np.random.default_rng(8)
    batches = [[trial("move", str(i % 3), 0.3, rng.lognormal(4, 1), rng) for i in range(BATCH)] for _ in range(5)]
    first = second = Learned()
    for batch in batches:
        scaled = [
            TrialResult(
                arms=r.arms, is_new=r.is_new, energy=None if r.energy is None else 10 * r.energy + 64, cost=64 * r.cost
            )
            for r in batch
        ]
        first, second = update(first, batch, -7.9, SETTINGS), update(second, scaled, -15.0, SETTINGS)
    assert sum(arm.successes for arm in first.arms["move"].values()) > 3
    for name, arm in first.arms["move"].items():
        assert second.arms["move"][name] == pytest.approx(arm)
    assert second.cost == pytest.approx(64 * first.cost)


def test_successes_and_costs_of_a_generation():
    batch = [
        result("1", -8.0),
        result("1", -7.6, cost=300.0),
        result("2", -7.0),
        result("2", None, is_new=False, cost=None),
    ]
    learned = update(Learned(), batch, None, SETTINGS)
    # best -8, median -7.6: up to -7.88 with a window of 0.3; the mean cost is 500/3
    assert learned.arms == {
        "generator": {},
        "move": {"1": Arm(2, 1, pytest.approx(2.4)), "2": Arm(2, 0, pytest.approx(1.6))},
        "size": {},
    }
    assert (learned.trials, learned.cost, learned.energy) == (3, 500, pytest.approx(-7.6))
    later = update(learned, [result("2", -8.1)], -8.0, SETTINGS)
    factor = SETTINGS.bandit.discount
    assert later.arms["move"]["1"] == learned.arms["move"]["1"].faded(factor)
    assert later.arms["move"]["2"].trials == 2 * factor + 1
    assert later.arms["move"]["2"].successes == 1


def test_a_single_cost_counts_within_limits():
    batch = [*[result("1") for _ in range(14)], result("2", cost=0.0), result("3", cost=1e6)]
    arms = update(Learned(), batch, -8.0, SETTINGS).arms["move"]
    assert (arms["2"].cost, arms["3"].cost) == (LEAST_COST, MOST_COST)


def test_old_evidence_fades_as_fast_as_the_settings_say():
    settings = settings_of(discount=0.9)
    learned = update(Learned(), [result("1")], None, settings)
    for _ in range(20):
        learned = update(learned, [result("2", kind="size"), result("2", kind="move")], -8.0, settings)
    assert learned.arms["move"]["1"].trials == pytest.approx(0.9**20)  # one trial of its kind in each of 20 generations


def test_what_another_search_learned_is_a_weak_start():
    before = play(SETTINGS, "move", MOVES, one_good_move, 3)[1]
    inherited = before.inherited()
    assert inherited.arms["move"]["6"].successes == INHERITED * before.arms["move"]["6"].successes
    assert (inherited.trials, inherited.cost, inherited.energy) == (0, 0, None)
    start = {"kind": "move", "prior": MOVES, "chance": one_good_move, "batches": 3}
    assert share("6", SETTINGS, **start, learned=inherited) > 1.5 * share("6", SETTINGS, **start)
    # it is overruled where another move pays
    assert share("2", SETTINGS, "move", MOVES, lambda a, _: 0.4 if a == "2" else 0.05, learned=inherited) > 0.4


def drawn(settings, learned, number=300):
    """Return generators, sizes and moves that a search chooses."""
    settings = settings.model_copy(update={"starts": {"fgen": 1.0, "gnoa": 1.0}})
    state = replace(SearchState.initial(1, 0.02), learned=learned)
    choices, rng, moves = (
        Choices(settings, state),
        np.random.default_rng(6),
        [get_move(name) for name in ("1", "2", "9")],
    )
    return [
        (choices.source(rng), choices.size([1, 2, 3, 4], rng), choices.move(moves, state.walkers[0], rng).name)
        for _ in range(number)
    ]


def test_search_chooses_by_what_it_has_learned():
    good, bad = Arm(40, 20, 40), Arm(40, 1, 40)
    known = {
        "generator": {"fgen": bad, "": good},
        "size": {"1": bad, "2": bad, "3": good, "4": bad},
        "move": {"1": bad, "2": good, "9": bad},
    }
    sources, sizes, moves = zip(*drawn(SETTINGS, Learned(known)), strict=True)
    assert sources.count("") > 0.85 * 300
    assert sizes.count(3) > 0.75 * 300
    assert moves.count("2") > 0.75 * 300
    as_fixed = drawn(settings_of("fixed"), Learned(known))
    assert as_fixed == drawn(SETTINGS, Learned()) == drawn(settings_of("fixed"), Learned())
