"""Acceptance of trials: Metropolis with a temperature that melts (paper section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from aiida_fuse2.core.settings import AcceptanceSettings


class Outcome(StrEnum):
    """The decision on a trial."""

    DOWNHILL = "downhill"
    UPHILL = "uphill"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    FAILED = "failed"
    SUPERCELL = "supercell"
    NOT_LOWEST = "not_lowest"
    INITIAL = "initial"


ACCEPTED = frozenset({Outcome.DOWNHILL, Outcome.UPHILL, Outcome.SUPERCELL})


@dataclass(frozen=True)
class Thermostat:
    """Temperature of one walker.

    Attributes:
        temperature: T of the Metropolis criterion, eV/atom.
        stale: number of structures of the walker since its last downhill step.
    """

    temperature: float
    stale: int = 0

    def is_melted(self, settings: AcceptanceSettings) -> bool:
        """Return whether the walker has relaxed ``melt_threshold`` structures without a downhill step."""
        return self.stale >= settings.melt_threshold

    def is_stuck(self, settings: AcceptanceSettings) -> bool:
        """Return whether the walker has relaxed ``restart_threshold`` structures without a downhill step."""
        return settings.restart_threshold is not None and self.stale >= settings.restart_threshold


def accept(delta: float, thermostat: Thermostat, settings: AcceptanceSettings, rng: np.random.Generator) -> Outcome:
    """Return whether a trial is accepted, and how.

    Args:
        delta: energy of the trial minus that of the walker's current structure, eV/atom.
        thermostat: temperature of the walker.
        settings: energy tolerance.
        rng: draws the Metropolis number, whether or not it is needed.
    """
    drawn = rng.random()
    if delta < -settings.energy_tolerance:
        return Outcome.DOWNHILL
    if delta <= 0:
        return Outcome.UPHILL
    if thermostat.temperature > 0 and drawn < np.exp(-delta / thermostat.temperature):
        return Outcome.UPHILL
    return Outcome.REJECTED


def update_thermostat(
    thermostat: Thermostat,
    outcome: Outcome,
    n_structures: int,
    settings: AcceptanceSettings,
    rng: np.random.Generator,
) -> Thermostat:
    """Return the thermostat after a step.

    A downhill step restores the temperature. Any other step adds its structures to the count and,
    once the walker is melted, a rejected one heats it by U(0, ``melt_step``) eV/atom.

    Args:
        thermostat: temperature before the step.
        outcome: decision on the walker's lowest trial.
        n_structures: number of structures that count: those of the walker in this step, without rattled copies.
        settings: temperature, melting threshold and step.
        rng: draws the rise in temperature.
    """
    if outcome is Outcome.DOWNHILL:
        return Thermostat(settings.temperature, 0)
    counted = replace(thermostat, stale=thermostat.stale + n_structures)
    if outcome in ACCEPTED or not counted.is_melted(settings):
        return counted
    return replace(counted, temperature=counted.temperature + rng.uniform(0.0, settings.melt_step))
