"""What a search says about what it has not found: the bound, in simulated searches too, and records made by hand."""

from __future__ import annotations

import math
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.search.checks import check_search
from aiida_fuse2.core.search.evidence import coverage, evidence_of_rows, expected_number
from aiida_fuse2.core.search.watching import Tried, Watch, share_of_size, stop_text, structures_needed

SIMULATED = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "evidence.py"))


# --- the bound ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chance", "new_bests", "structures"), [(0.005, 1, 738), (0.005, 3, 1097), (0.005, 10, 1540), (0.5, 1, 8)]
)
def test_structures_that_a_chance_takes(chance, new_bests, structures):
    assert structures_needed(chance, new_bests, 0.95) == structures
    assert Watch(new_bests, structures).chance(0.95) <= chance < Watch(new_bests, structures - 1).chance(0.95)


def test_rmax_of_the_paper():
    assert Watch(10, 1000).chance(0.95) == pytest.approx(0.0077, abs=1e-4)


def test_little_says_nothing():
    assert Watch().chance(0.95) is None
    assert Watch(1, 3).chance(0.95) is None
    assert Watch(1, 4).chance(0.95) == pytest.approx(math.log(40) / 4)


@pytest.mark.parametrize("name", list(SIMULATED["MODELS"]))
def test_bound_holds_in_simulated_searches(name):
    runs = SIMULATED["simulate"](SIMULATED["MODELS"][name], 200, seed=7, trials=400)
    assert sum(run.is_wrong for run in runs) <= 0.05 * len(runs)
    wrong = SIMULATED["simulate"](SIMULATED["MODELS"][name], 40, seed=7, scale=0.1, trials=400)
    assert sum(run.is_wrong for run in wrong) > 0.3 * len(wrong)


# --- counting -------------------------------------------------------------------------------------


def test_what_counts():
    trials = [
        Tried(False, -1.0, 1),  # a prototype: the first best
        Tried(True, -0.5, 1),
        Tried(True, -1.0005, 2),  # within the tolerance
        Tried(True, None, None),  # failed: it was not lower
        Tried(False, -0.9, 1),
    ]
    watch = Watch().after(trials, None, 0.001)
    assert watch == Watch(1, 3, {1: 1, 2: 1})
    assert watch.after([Tried(False, -2.0, 3)], -1.0, 0.001) == Watch(2, 0, {1: 1, 2: 1})
    assert watch.after([Tried(True, -2.0, 3)], -1.0, 0.001) == Watch(2, 0, {1: 1, 2: 1, 3: 1})


@given(
    st.lists(
        st.builds(
            Tried,
            st.booleans(),
            st.none() | st.sampled_from([-1.0, -2.0, -2.0004, -3.0]),
            st.none() | st.integers(1, 3),
        )
    ),
    st.integers(0, 20),
)
def test_counts_do_not_depend_on_generations(trials, cut):
    reference = None
    for trial in trials[:cut]:
        if trial.energy is not None and (reference is None or trial.energy < reference - 0.001):
            reference = trial.energy
    split = Watch().after(trials[:cut], None, 0.001).after(trials[cut:], reference, 0.001)
    assert split == Watch().after(trials, None, 0.001)


def test_every_size_has_its_share_before_it_ends(search_settings):
    settings = search_settings("SrTiO3", max_atoms=10, stop_chance=0.1)
    enough = Watch(1, 37, {1: 20, 2: 3})
    assert share_of_size(0.95) == 3
    assert enough.has_ended(settings)
    assert not enough.has_ended(settings.model_copy(update={"stop_chance": None}))
    assert not replace(enough, random_since_best=36).has_ended(settings)
    assert not replace(enough, sizes={1: 20, 2: 2}).has_ended(settings)
    assert not enough.has_ended(settings.model_copy(update={"max_atoms": 15}))


def test_state_of_earlier_versions_counts_from_now_on():
    assert Watch.from_state({"reference_energy": -1.0}) == Watch(1, 0)
    assert Watch.from_state({"reference_energy": None}) == Watch(0, 0)
    assert Watch.from_state({"watch": Watch(2, 7, {3: 1}).to_dict()}) == Watch(2, 7, {3: 1})


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_structures": 738}, "takes at least 739 structures, but max_structures = 738"),
        ({"rmax": 737}, "takes at least 738 structures, but rmax = 737"),
    ],
)
def test_chance_that_cannot_be_reached_is_refused(search_settings, limits, reason):
    settings = search_settings(stop_chance=0.005, **{"max_structures": 1000, "rmax": 1000, **limits})
    with pytest.raises(InputError, match=reason) as caught:
        check_search(settings)
    assert caught.value.field == "settings.stop_chance"
    check_search(settings.model_copy(update={name: value + 1 for name, value in limits.items()}))


def test_what_it_takes_is_said(search_settings):
    assert stop_text(search_settings()) == ""
    assert stop_text(search_settings(stop_chance=0.005, max_structures=5000, rmax=2000)) == (
        "stop_chance = 0.005 takes at least 738 random structures without a new best after the first one, "
        "1097 after the third"
    )
    assert stop_text(search_settings(stop_chance=0.005, max_structures=1000, rmax=900)).endswith(
        "; max_structures = 1000 or rmax = 900 may come first"
    )


# --- records --------------------------------------------------------------------------------------


class Rows(list):
    """Records made by hand, of cells of five atoms; ``same`` is the label of an equal structure."""

    def add(self, energy, origin="fgen", parent="", same=None, status="converged"):
        self.append(
            {
                "label": f"t{len(self)}",
                "origin": origin,
                "parent": parent,
                "status": status if energy is None or status == "known" else "converged",
                "energy": energy if status == "converged" else None,
                "duplicate_of": same,
                "n_atoms": None if energy is None or status == "known" else 5,
                "cpu_seconds": 2.0,
            }
        )
        return self[-1]["label"]


@pytest.fixture
def settings(search_settings):
    return search_settings("SrTiO3", max_atoms=5)


def test_only_starts_find_the_best_independently(settings):
    rows = Rows()
    high = rows.add(-1.0)
    best = rows.add(-2.0, "move", parent=high)  # found by a move
    back = rows.add(-2.0, "move", parent=best, same=best)  # comes back
    rows.add(-2.0, "rattle", parent=back, same=best)
    rows.add(-1.9999, "fgen", same=best)  # a start
    rows.add(-1.0, "gnoa", same=best, status="known")  # a start that was not relaxed again
    rows.add(-2.0, "prototypes", same=best)
    rows.add(-2.0, "provided", same=best)
    rows.add(None, status="step_limit")
    found = evidence_of_rows(rows, settings)
    assert (found.finds, found.starts, found.starts_since_best) == (2, 4, 3)
    assert (found.tried, found.new_bests, found.random_since_best) == (9, 2, 5)
    assert (found.low_lying, found.low_lying_finds) == (1, 3)  # the move, and both starts
    assert found.cpu_seconds_per_structure == 2.0


def test_prototypes_are_no_trials(settings):
    rows = Rows()
    for _ in range(50):
        rows.add(-1.0, "prototypes", same="t0" if rows else None)
    found = evidence_of_rows(rows, settings)
    assert (found.random_since_best, found.starts, found.finds, found.chance) == (0, 0, 0, None)
    assert found.missing_sizes == (1,)
    assert "not stated yet: fewer than 3 random structures with Z = 1." in found.text()


def test_text_is_read_at_a_glance(settings):
    rows = Rows()
    best = rows.add(-2.0)
    for number in range(179):
        rows.add(-2.0 if number in {5, 31} else -1.0, same=best if number in {5, 31} else "t1" if number else None)
    found = evidence_of_rows(rows, settings)
    assert found.chance == pytest.approx(math.log(40) / 179)
    assert found.text() == (
        "Best found by 3 of 180 random starts, last improvement 179 random structures ago: not converged.\n"
        "With 95 % confidence, the mean chance that one of these was lower is below 2.1 %; if that rate stays, one "
        "more improvement takes at least 49 structures (97 CPU s) on average. Within 50 meV/atom of the best, 1 of at "
        "least about 1 structure is known (coverage 100 %). This bounds how often lower structures are found; it "
        "never proves a ground state."
    )
    rows.add(-2.0, same=best)
    rows.add(-2.0, same=best)
    assert evidence_of_rows(rows, settings).is_converged
    assert ": a lower one as easy to find would have been found.\n" in evidence_of_rows(rows, settings).text()


def test_nothing_yet(settings):
    assert evidence_of_rows([], settings).text() == ""
    rows = Rows()
    rows.add(None, status="step_limit")
    assert evidence_of_rows(rows, settings).text().startswith("Nothing found in 1 trial.\n")


def test_low_lying_structures_are_within_the_window(settings):
    rows = Rows()
    for energy in (-2.0, -1.96, -1.951, -1.949):
        rows.add(energy)
    rows.add(-1.96, same="t1")
    found = evidence_of_rows(rows, settings)
    assert (found.low_lying, found.low_lying_finds) == (3, 4)
    assert (found.coverage, found.low_lying_expected) == (0.5, 3 + 0.75 * 2 / 4)


@pytest.mark.parametrize(
    ("counts", "covered", "number"),
    [([], None, None), ([3, 2], 1.0, 2.0), ([1, 1, 1], 0.0, 5.0), ([1, 1, 2, 6], 0.8, 4 + 0.9 * 2 / 4)],
)
def test_coverage(counts, covered, number):
    assert coverage(counts) == (covered if covered is None else pytest.approx(covered))
    assert expected_number(counts) == (number if number is None else pytest.approx(number))
