"""A state as another search goes on from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aiida_fuse2.core.search.acceptance import Thermostat
from aiida_fuse2.core.search.state import FollowUp, LowStructure, SearchState, Walker, fit_state

ENERGIES = st.one_of(st.none(), st.floats(-9, -1))


def walker(index, energy, stale=0, temperature=0.02):
    label = None if energy is None else f"g00000_w{index:03d}_t000"
    return Walker(label, label, energy, Thermostat(temperature, stale), accepted=index + 1)


def state_of(energies, **changes):
    base = replace(
        SearchState.initial(1, 0.02), generation=3, walkers=tuple(map(walker, range(len(energies)), energies))
    )
    return replace(base, **changes)


def test_same_settings_change_nothing(search_settings):
    melted = walker(1, -7.0, stale=200, temperature=0.09)
    state = state_of(
        [-8.0, -7.0], walkers=(walker(0, -8.0), melted), followups=(FollowUp("g00002_w001_t000", -8.0, 1),)
    )
    assert fit_state(state, search_settings(walkers=2), {}) == state


def test_unmelted_walkers_take_the_temperature(search_settings):
    melted = walker(1, -7.0, stale=200, temperature=0.09)
    state = state_of([], walkers=(walker(0, -8.0, stale=15), melted))
    fitted = fit_state(state, search_settings(walkers=2, acceptance={"temperature": 0.05}), {})
    assert [w.thermostat for w in fitted.walkers] == [Thermostat(0.05, 15), Thermostat(0.09, 200)]


def test_walkers_on_structures_that_are_too_large_begin_anew(search_settings):
    large, small = walker(0, -9.0, stale=200, temperature=0.09), walker(1, -7.0)
    followups = (FollowUp("f_large", -9.0, 0), FollowUp("f_small", -8.0, 1))
    lowest = (LowStructure(-9.0, "l_large", 15), LowStructure(-8.0, "l_small", 14))
    state = state_of([], walkers=(large, small), followups=followups, lowest=lowest)
    n_atoms = {"g00000_w000_t000": 15, "g00000_w001_t000": 10, "f_large": 15, "f_small": 10}
    assert fit_state(state, search_settings(walkers=2, max_atoms=15), n_atoms) == state
    smaller = search_settings(walkers=2, max_atoms=14)
    fitted = fit_state(state, smaller, n_atoms)
    assert fitted.walkers == (Walker(None, None, None, Thermostat(smaller.acceptance.temperature)), small)
    assert fitted.followups == followups[1:]
    assert fitted.lowest == lowest[1:]
    (kept,) = fit_state(state, search_settings(walkers=1, max_atoms=14), n_atoms).walkers
    assert kept == small  # not the lower one, which is too large


@hypothesis_settings(derandomize=True, deadline=None, max_examples=50)
@given(energies=st.lists(ENERGIES, min_size=1, max_size=6), number=st.integers(1, 8))
def test_walkers_are_kept_by_energy_and_filled_up(search_settings_of, energies, number):
    state = state_of(energies, followups=tuple(FollowUp(f"f{i}", -8.0, i) for i in range(len(energies))))
    fitted = fit_state(state, search_settings_of(number), {})
    assert len(fitted.walkers) == number
    kept = [w for w in fitted.walkers if w in state.walkers]
    assert [w for w in state.walkers if w in kept] == kept  # in their order
    dropped = [w.energy for w in state.walkers if w not in kept and w.energy is not None]
    if dropped:
        assert max((w.energy for w in kept if w.energy is not None), default=-99) <= min(dropped)
    assert all(w.current is None for w in fitted.walkers[len(energies) :])
    assert all(f.walker < number for f in fitted.followups)


@pytest.fixture(scope="module")
def search_settings_of():
    from aiida_fuse2.core.settings import SearchSettings, parse_settings
    from aiida_fuse2.protocols import protocol_inputs

    values = protocol_inputs("fast")["settings"]

    def build(walkers):
        return parse_settings(SearchSettings, {**values, "composition": "SrTiO3", "walkers": walkers})

    return build


def test_labels_needed():
    state = state_of([-8.0, None, -8.0], followups=(FollowUp("g00001_w000_t004", -8.0, 0),))
    assert state.labels_needed == ["g00000_w000_t000", "g00000_w002_t000", "g00001_w000_t004"]
    assert SearchState.from_dict(state.to_dict()) == state


def test_state_of_an_earlier_version_is_read():
    values = SearchState.initial(2, 0.02).to_dict()
    values["followups"] = [{"label": "f", "energy": -8.0, "walker": 0}]  # all had been relaxed with their symmetry
    for name in ("cpu_seconds", "lowest", "restarts"):
        del values[name]
    for one in values["walkers"]:
        del one["supercell"]
    state = SearchState.from_dict(values)
    assert (state.cpu_seconds, state.lowest, state.restarts) == (0, (), {})
    assert [w.supercell for w in state.walkers] == [False, False]
    assert state.followups[0].symmetric
