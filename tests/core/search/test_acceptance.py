from __future__ import annotations

import numpy as np
import pytest

from aiida_fuse2.core.search.acceptance import Outcome, Thermostat, accept, update_thermostat


@pytest.fixture
def criteria(search_settings):
    return search_settings(
        acceptance={"energy_tolerance": 0.001, "temperature": 0.02, "melt_threshold": 3, "melt_step": 0.01}
    ).acceptance


def rng(seed=0):
    return np.random.default_rng(seed)


def test_downhill_is_always_accepted(criteria):
    assert accept(-0.0011, Thermostat(0.0), criteria, rng()) is Outcome.DOWNHILL


def test_same_energy_is_accepted_but_not_downhill(criteria):
    assert accept(-0.0005, Thermostat(0.02), criteria, rng()) is Outcome.UPHILL


def test_metropolis_frequency(criteria):
    stream = rng(1)
    accepted = sum(accept(0.02, Thermostat(0.02), criteria, stream) is Outcome.UPHILL for _ in range(4000))
    assert accepted / 4000 == pytest.approx(np.exp(-1), abs=0.03)


def test_zero_temperature_never_goes_up(criteria):
    assert accept(1e-6, Thermostat(0.0), criteria, rng()) is Outcome.REJECTED


def test_melting_starts_at_the_threshold_and_a_downhill_step_ends_it(criteria):
    state = Thermostat(0.02, 0)
    for stale in (1, 2):
        state = update_thermostat(state, Outcome.REJECTED, 1, criteria, rng(stale))
        assert state == Thermostat(0.02, stale)
        assert not state.is_melted(criteria)
    state = update_thermostat(state, Outcome.REJECTED, 1, criteria, rng(3))
    assert state.is_melted(criteria)
    assert 0.02 < state.temperature <= 0.03
    heated = update_thermostat(state, Outcome.DUPLICATE, 1, criteria, rng(4))
    assert heated.temperature > state.temperature
    uphill = update_thermostat(heated, Outcome.UPHILL, 1, criteria, rng(5))
    assert uphill.temperature == heated.temperature
    assert update_thermostat(uphill, Outcome.DOWNHILL, 1, criteria, rng(6)) == Thermostat(0.02, 0)
