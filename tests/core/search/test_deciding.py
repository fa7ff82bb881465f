from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_fuse2.core.relaxers.failures import CONVERGED, KNOWN
from aiida_fuse2.core.search.acceptance import Thermostat
from aiida_fuse2.core.search.deciding import KnownStructure, Relaxation, decide
from aiida_fuse2.core.search.state import Best, SearchState, Walker
from aiida_fuse2.core.search.trials import RATTLE, TrialInfo, trial_label
from aiida_fuse2.core.search.watching import Watch


def info(walker=0, trial=0, generation=0, *, move="", symmetric=False):
    return TrialInfo(
        label=trial_label(generation, walker, trial),
        generation=generation,
        walker=walker,
        trial=trial,
        attempt=0,
        move=move,
        origin="fgen",
        parent="",
        symmetric_start=symmetric,
    )


def relaxed(energy, kind=0.0, group=2):
    return Relaxation(CONVERGED, {"energy": energy, "n_atoms": 5, "spacegroup_loose": group}, np.full(36, 1.0 + kind))


FAILED = Relaxation("step_limit", {"cpu_seconds": 1.0}, None)


class Search:
    """Decides on made-up relaxations; structures are equal when their fingerprints are."""

    def __init__(self, settings):
        self.settings = settings
        self.state = SearchState.initial(settings.walkers, settings.acceptance.temperature)
        self.kinds = {}

    def decide(self, outcomes, candidates=None, rejections=None, known=None):
        trials = [t for t, _ in outcomes]
        relaxations = {t.label: r for t, r in outcomes}
        self.kinds |= {label: r.fingerprint for label, r in relaxations.items()}
        decision = decide(
            self.settings,
            self.state,
            trials,
            relaxations,
            candidates=candidates or {},
            same=lambda a, b: np.allclose(self.kinds[a], self.kinds[b]),
            n_atoms={t.label: 5 for t in trials},
            rejections=rejections or {},
            pool=(0, {}, 0),
            known=known,
        )
        self.state = decision.state
        return decision.record


@pytest.fixture
def search(search_settings):
    return Search(search_settings(walkers=2, rmax=100))


def start(search, energies=(-1.0, -2.0, -3.0)):
    return search.decide([(info(trial=i), relaxed(e, kind=i)) for i, e in enumerate(energies)])


def test_walkers_start_from_the_lowest(search):
    record = start(search)
    assert [w.energy for w in search.state.walkers] == [-3.0, -2.0]
    assert search.state.best == Best("g00000_w000_t002", -3.0, 3)
    assert [row["outcome"] for row in record.values()] == ["not_lowest", "initial", "initial"]


def test_equal_starts_are_one_and_the_lower_is_taken(search):
    search.decide([(info(trial=0), relaxed(-2.999)), (info(trial=1), relaxed(-3.0)), (info(trial=2), relaxed(-1.0, 1))])
    walkers = search.state.walkers
    assert [w.current for w in walkers] == ["g00000_w000_t001", "g00000_w000_t002"]
    assert walkers[0].representative == "g00000_w000_t000"
    assert (search.state.explored, search.state.unique) == (3, 2)


@pytest.mark.parametrize(("restart", "second"), [(40, None), (None, "g00000_w000_t000")])
def test_fewer_structures_than_walkers(search_settings, restart, second):
    search = Search(search_settings(walkers=2, acceptance={"restart_threshold": restart}))
    start(search, energies=(-1.0,))
    assert [w.current for w in search.state.walkers] == ["g00000_w000_t000", second]


def test_downhill_uphill_and_lowest_of_own(search):
    start(search)
    record = search.decide(
        [
            (info(0, 0, 1, move="7"), relaxed(-3.5, 10)),
            (info(0, 1, 1, move="2"), relaxed(-3.2, 11)),
            (info(1, 0, 1, move="1"), relaxed(5.0, 12)),
        ]
    )
    assert [row["outcome"] for row in record.values()] == ["downhill", "not_lowest", "rejected"]
    assert search.state.walkers[0].current == "g00001_w000_t000"
    assert search.state.walkers[0].thermostat.stale == 0
    assert search.state.walkers[1].thermostat.stale == 1
    assert search.state.moves == {"1": (1, 0), "2": (1, 0), "7": (1, 1)}
    assert (search.state.walkers[0].accepted, search.state.walkers[1].rejected) == (1, 1)


def test_relaxing_back_is_a_rejected_duplicate(search):
    start(search)
    candidates = {"g00001_w000_t000": ["g00000_w000_t002"]}
    record = search.decide([(info(0, 0, 1), relaxed(-3.0, 2))], candidates)
    row = record["g00001_w000_t000"]
    assert (row["outcome"], row["duplicate_of"]) == ("duplicate", "g00000_w000_t002")
    assert search.state.walkers[0].current == "g00000_w000_t002"


def test_duplicate_of_another_walkers_structure_may_be_accepted(search_settings):
    search = Search(search_settings(walkers=2, acceptance={"restart_threshold": None}))
    start(search)
    record = search.decide([(info(1, 0, 1), relaxed(-3.0, 2))], {"g00001_w001_t000": ["g00000_w000_t002"]})
    assert record["g00001_w001_t000"]["outcome"] == "downhill"
    assert search.state.walkers[1].representative == "g00000_w000_t002"


def test_no_two_walkers_hold_one_structure(search):
    start(search)
    trial = info(1, 0, 1)
    record = search.decide([(trial, relaxed(-3.0, 2))], {trial.label: ["g00000_w000_t002"]})
    assert record[trial.label]["outcome"] == "downhill"
    first, second = search.state.walkers
    assert first.representative == "g00000_w000_t002"
    assert second.representative in {None, "g00000_w000_t001"}  # the lowest that nobody holds, or none
    assert second.thermostat == Thermostat(0.02, 0)
    assert search.state.restarts == {"met another": 1}


def test_a_stuck_walker_begins_anew(search_settings):
    """A walker begins half the time from the lowest structure that no walker holds, otherwise with a new one."""
    criteria = {"restart_threshold": 3, "temperature": 0.0}
    begun = []
    for seed in range(40):
        search = Search(search_settings(walkers=2, seed=seed, acceptance=criteria))
        start(search, energies=(-1.0, -1.5, -2.0, -3.0))
        for generation in (1, 2, 3):
            assert search.state.restarts == {}
            search.decide([(info(0, 0, generation), relaxed(1.0, 10 + generation))])
        stuck, other = search.state.walkers
        assert other.current == "g00000_w000_t002"
        assert (stuck.thermostat, stuck.rejected) == (Thermostat(0.0), 3)
        assert search.state.restarts == {"stuck": 1}
        begun.append(stuck.current)
    assert set(begun) == {None, "g00000_w000_t001"}
    assert 10 <= begun.count(None) <= 30


def test_the_lowest_structures_are_remembered(search):
    start(search, energies=(-1.0, -2.0, -3.0, -2.5, -0.5, -2.2))
    assert [low.energy for low in search.state.lowest] == [-3.0, -2.5, -2.2, -2.0]  # twice as many as walkers
    again, new = info(0, 0, 1), info(1, 0, 1)
    search.decide([(again, relaxed(-2.5, 3)), (new, relaxed(-2.4, 30))], {again.label: ["g00000_w000_t003"]})
    assert [low.energy for low in search.state.lowest] == [-3.0, -2.5, -2.4, -2.2]


@pytest.mark.parametrize(("move", "holds"), [("11", True), ("12", True), ("1", False), ("", False)])
def test_a_walker_holds_a_supercell(search, move, holds):
    start(search)
    trial = info(0, 0, 1, move=move)
    record = search.decide([(trial, relaxed(-3.0, 2))], {trial.label: ["g00000_w000_t002"]})
    walker = search.state.walkers[0]
    assert (walker.supercell, walker.representative) == (holds, "g00000_w000_t002")
    assert walker.current == (trial.label if holds else "g00000_w000_t002")
    assert record[trial.label]["outcome"] == ("supercell" if holds else "duplicate")
    assert record[trial.label]["duplicate_of"] == "g00000_w000_t002"
    assert walker.thermostat.stale == 1
    assert search.state.walkers[1].energy == -2.0  # nobody has met another
    search.decide([(info(0, 0, 2, move="1"), relaxed(-4.0, 40))])
    assert not search.state.walkers[0].supercell


def test_a_supercell_of_higher_energy_is_a_duplicate(search_settings):
    search = Search(search_settings(walkers=1, acceptance={"temperature": 0.0}))
    start(search)
    trial = info(0, 0, 1, move="11")
    record = search.decide([(trial, relaxed(-2.998, 2))], {trial.label: ["g00000_w000_t002"]})
    assert record[trial.label]["outcome"] == "duplicate"
    assert not search.state.walkers[0].supercell


def test_energy_window_separates_equal_fingerprints(search):
    search.decide([(info(trial=0), relaxed(-3.0)), (info(trial=1), relaxed(-2.99))])
    assert search.state.unique == 2


def test_failures_are_counted_and_never_accepted(search):
    start(search)
    record = search.decide([(info(0, 0, 1), FAILED), (info(1, 0, 1), FAILED)], rejections={"short_contact": 3})
    assert {row["outcome"] for row in record.values()} == {"failed"}
    assert search.state.failures == {"step_limit": 2}
    assert search.state.rejections == {"short_contact": 3}
    assert (search.state.tried, search.state.explored) == (5, 3)
    assert search.state.walkers[0].thermostat.stale == 1


def test_population_that_fails_leaves_walkers_empty_and_the_next_trial_is_taken(search):
    search.decide([(info(), FAILED)])
    assert {w.current for w in search.state.walkers} == {None}
    search.decide([(info(1, 0, 1), relaxed(-1.0))])
    assert [w.current for w in search.state.walkers] == [None, "g00001_w001_t000"]


def test_new_best_must_be_lower_by_the_tolerance(search):
    start(search)
    search.decide([(info(0, 0, 1), relaxed(-3.0005, 20)), (info(1, 0, 1), relaxed(-1.0, 21))])
    assert search.state.best.energy == -3.0005
    assert search.state.since_best == 2
    assert search.state.watch == Watch(3, 2, {1: 5})
    search.decide([(replace(info(0, 0, 2), origin="prototypes"), relaxed(-1.0, 23)), (info(1, 0, 2), FAILED)])
    assert search.state.since_best == 4
    assert search.state.watch == Watch(3, 3, {1: 5})  # prototypes are no random draws; a failed trial was not lower
    search.decide([(info(0, 0, 3), relaxed(-3.0011, 22))])
    assert search.state.since_best == 0
    assert search.state.watch == Watch(4, 0, {1: 6})


def test_followups_are_new_and_near_the_best(search_settings):
    search = Search(search_settings(walkers=1, symmetry={"rattle_window": 0.01, "max_followups": 3}))
    search.decide(
        [
            (info(trial=0, symmetric=True), relaxed(-3.0, 0)),
            (info(trial=1, symmetric=True), relaxed(-2.995, 1)),
            (info(trial=2, symmetric=True), relaxed(-2.98, 2)),
            (info(trial=3, symmetric=False), relaxed(-2.999, 3)),
            (info(trial=4, symmetric=True), relaxed(-3.0, 0)),
        ]
    )
    found = [(f.label[-4:], f.symmetric) for f in search.state.followups]
    assert found == [("t000", True), ("t003", False), ("t001", True)]  # lowest first
    search.decide([(info(0, 0, 1), relaxed(-1.0, 9))])
    assert search.state.followups == ()


def test_structures_with_symmetry_are_rattled_before_those_without(search_settings):
    """Nothing is forbidden in P1: copies of twenty structures led at most 3 meV/atom lower."""
    search = Search(search_settings(walkers=1, symmetry={"rattle_window": 0.01, "max_followups": 3}))
    search.decide(
        [
            (info(trial=0), relaxed(-3.0, 0, group=1)),
            (info(trial=1), relaxed(-2.999, 1, group=1)),
            (info(trial=2), relaxed(-2.998, 2, group=8)),
            (info(trial=3), relaxed(-2.997, 3, group=225)),
        ]
    )
    assert [f.label[-4:] for f in search.state.followups] == ["t002", "t003", "t000"]


@pytest.mark.parametrize(("gain", "is_followed"), [(0.002, True), (0.0005, False), (-0.002, False)])
def test_copies_are_rattled_again_where_they_led_lower(search_settings, gain, is_followed):
    search = Search(search_settings(walkers=1, symmetry={"rattle_window": 0.01, "max_followups": 3}))
    start(search, energies=(-3.0,))
    parent = search.state.followups[0].label
    search.decide([(replace(info(0, 0, 1), origin=RATTLE, parent=parent), relaxed(-3.0 - gain, 50))])
    assert len(search.state.followups) == is_followed


def test_followups_wait_for_room_and_are_rattled_once(search_settings):
    search = Search(search_settings(walkers=1, symmetry={"rattle_window": 0.01, "max_followups": 2}))
    start(search, energies=(-3.0, -2.999, -2.998))
    first, second = (f.label for f in search.state.followups)
    copies = [
        (replace(info(0, i, 1), origin=RATTLE, parent=parent), relaxed(-1.0, 50 + i))
        for i, parent in enumerate((first, first))
    ]
    search.decide(copies)
    assert [f.label for f in search.state.followups] == [second]
    assert search.state.walkers[0].thermostat.stale == 0  # copies are no steps of the walk
    search.decide([(info(0, 0, 2), relaxed(-1.0, 60))])  # it had no cells to rattle
    assert search.state.followups == ()


def test_state_keeps_its_size(search):
    start(search)
    for generation in range(1, 40):
        search.decide([(info(w, 0, generation, move="7"), relaxed(float(w), generation * 10 + w)) for w in (0, 1)])
    early = replace(search.state, walkers=(Walker("a" * 16, "a" * 16, -1.0, Thermostat(0.02)),) * 2)
    assert len(str(early.to_dict())) < 1500


def test_decision_depends_on_nothing_else(search_settings):
    settings = search_settings(walkers=2, acceptance={"temperature": 0.5})

    def history():
        search = Search(settings)
        start(search)
        rows = []
        for generation in range(1, 12):
            energies = np.random.default_rng(generation).uniform(-3.5, -2, size=2)
            outcomes = [
                (info(w, 0, generation, move="1"), relaxed(e, generation * 10 + w)) for w, e in enumerate(energies)
            ]
            rows.append([row["outcome"] for row in search.decide(outcomes).values()])
        return rows, search.state

    assert history() == history()


def test_a_known_trial_is_tested_with_the_energy_of_what_it_equals(search_settings):
    search = Search(search_settings(walkers=2, acceptance={"restart_threshold": None}))
    start(search)
    before = search.state
    trial = info(walker=1, generation=1, move="1")
    record = search.decide(
        [(info(walker=0, generation=1, move="2"), FAILED), (trial, FAILED)],
        known={trial.label: KnownStructure("g00000_w000_t002", -3.0)},
    )
    row = record[trial.label]
    assert (row["status"], row["duplicate_of"], row["outcome"]) == (KNOWN, "g00000_w000_t002", "downhill")
    assert row.get("energy") is None
    assert row["fingerprint"] is None
    walker = search.state.walkers[1]
    assert (walker.current, walker.representative, walker.energy) == ("g00000_w000_t002", "g00000_w000_t002", -3.0)
    after = search.state
    assert (after.tried, after.explored, after.unique) == (before.tried + 2, before.explored, before.unique)
    assert after.failures == {"step_limit": 1}
    assert after.since_best == before.since_best + 2
    assert after.best == before.best


def test_a_known_trial_that_equals_the_current_structure_is_a_duplicate(search):
    start(search)
    trial = info(walker=0, generation=1, move="1")
    known = {trial.label: KnownStructure("g00000_w000_t002", -3.0)}
    record = search.decide([(trial, FAILED)], known=known)
    assert record[trial.label]["outcome"] == "duplicate"
    assert search.state.failures == {}


def test_policy_learns_from_decisions(search_settings):
    """Starts, moves and structures of the user; a duplicate, a failure, and a trial that was not relaxed."""
    search = Search(search_settings(walkers=2, policy="bandit", starts={"fgen": 1}))
    costs = {"evaluations": 20}

    def trial(energy, kind):
        found = relaxed(energy, kind)
        return replace(found, values={**found.values, **costs})

    given = replace(info(trial=3), origin="provided")
    search.decide([(info(trial=i), trial(e, i)) for i, e in enumerate((-3.0, -2.0, -1.0))] + [(given, trial(-3.5, 9))])
    learned = search.state.learned
    assert learned.arms["generator"]["fgen"] == learned.arms["size"]["1"]
    assert (learned.arms["generator"]["fgen"].trials, learned.arms["generator"]["fgen"].successes) == (3, 1)
    assert (learned.cost, learned.energy, learned.arms["move"]) == (3 * 20 * 5, -2.0, {})
    moves = [
        replace(info(w, t, 1, move=m), origin="move")
        for w, t, m in ((0, 0, "1"), (0, 1, "2"), (1, 0, "3"), (1, 1, "4"))
    ]
    known = {moves[3].label: KnownStructure("g00000_w000_t000", -3.0)}
    results = [trial(-3.4, 20), trial(-3.0, 0), FAILED]
    search.decide(
        list(zip(moves, [*results, Relaxation(KNOWN, {}, None)], strict=True)),
        candidates={moves[1].label: ["g00000_w000_t000"]},
        known=known,
    )
    arms = search.state.learned.arms["move"]
    assert {name: (arm.trials, arm.successes) for name, arm in arms.items()} == {
        "1": (1, 1), "2": (1, 0), "3": (1, 0), "4": (1, 0)
    }  # fmt: skip
    assert arms["4"].cost < arms["3"].cost == 1 < arms["1"].cost
    assert SearchState.from_dict(search.state.to_dict()) == search.state


def test_fixed_policy_has_nothing_in_the_state(search_settings):
    search = Search(search_settings(walkers=2))
    start(search)
    assert search.state.learned.arms == {}
    earlier = search.state.to_dict()
    del earlier["learned"]  # of a search made before there were policies
    assert SearchState.from_dict(earlier) == search.state
