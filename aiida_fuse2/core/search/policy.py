"""What a search learns about its own trials: which generators, moves and sizes pay.

Generators, moves and sizes (numbers of formula units) are three bandits with an arm for each name; a bandit with an arm
for each combination would need thousands of trials. A trial is a *success* if its structure is new and near the best.
The successes of an arm are taken for a Poisson process in its cost, so the posterior of their rate is a gamma
distribution, and an arm is chosen with the chance that its rate is the highest (Thompson, Biometrika 1933, 25, 285;
Chapelle and Li, NIPS 2011). What was learned fades with each trial (Raj and Kalyani, arXiv 1707.09727), and a floor
keeps every arm in use.

Costs are counted (evaluations times atoms) and never measured in seconds, so the same seed gives the same search.

Why near the best and not, for example, downhill from the parent: a walker that was heated or began high goes downhill
by almost any move, starts have no parent, and a new best is too rare to learn from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import fsum
from statistics import median
from typing import Any, Literal, Self

import numpy as np

from aiida_fuse2.core.settings import SearchSettings

Kind = Literal["generator", "move", "size"]
"""What is chosen by itself."""

KINDS: tuple[Kind, ...] = ("generator", "move", "size")

FIXED = "fixed"
"""The policy that does not learn: chances are those of the settings."""

BANDIT = "bandit"
"""The policy that learns."""

LEAST_COST = 0.25
"""Least cost of a trial, relative to the mean: also one that needs no relaxation takes its place in a generation."""

MOST_COST = 4.0
"""Largest cost of a trial that counts, relative to the mean: a single relaxation without end says little of its arm."""

DRAWS = 400
"""Number of samples of the posterior from which the chances of arms are counted."""

ITERATIONS = 10
"""Number of iterations for the typical rate."""

INHERITED = 0.25
"""Weight of what another search has learned."""


@dataclass(frozen=True)
class Arm:
    """Faded sums over the trials of an arm.

    Attributes:
        trials: number of trials.
        successes: number of successes.
        cost: cost, relative to the mean of all trials.
    """

    trials: float = 0.0
    successes: float = 0.0
    cost: float = 0.0

    def faded(self, factor: float) -> Arm:
        """Return the arm with all sums times a factor."""
        return Arm(self.trials * factor, self.successes * factor, self.cost * factor)


@dataclass(frozen=True)
class Learned:
    """What a search has learned: plain values of a fixed size, a part of its state.

    Attributes:
        arms: by kind and name; an arm without a trial is missing.
        trials: faded number of all trials.
        cost: faded sum of their costs, evaluations times atoms.
        energy: faded mean of the median energies of new structures in each generation, eV/atom.
    """

    arms: dict[str, dict[str, Arm]] = field(default_factory=dict)
    trials: float = 0.0
    cost: float = 0.0
    energy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what ``to_dict`` gave."""
        arms = {kind: {name: Arm(**sums) for name, sums in by.items()} for kind, by in values["arms"].items()}
        return cls(**{**values, "arms": arms})

    def inherited(self) -> Learned:
        """Return what another search begins with: arms with less weight, and neither costs nor energies."""
        arms = {kind: {name: arm.faded(INHERITED) for name, arm in by.items()} for kind, by in self.arms.items()}
        return Learned(arms)


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What the policy learns from a trial.

    Attributes:
        arms: name of the arm of each kind that was chosen for the trial.
        energy: eV/atom; None if the relaxation failed.
        is_new: whether it gave a structure that equals none before it.
        cost: evaluations times atoms; None if they are not known.
    """

    arms: Mapping[Kind, str]
    energy: float | None
    is_new: bool
    cost: float | None


@dataclass(frozen=True)
class Gain:
    """Whether a trial was a success, and its cost relative to the mean."""

    arms: Mapping[Kind, str]
    is_success: bool
    cost: float


def update(learned: Learned, results: Sequence[TrialResult], best: float | None, settings: SearchSettings) -> Learned:
    """Return what is known after a generation; the order of its trials does not matter.

    Args:
        learned: what was known before.
        results: trials of the generation; those without an arm are ignored.
        best: lowest energy before the generation, eV/atom; None if there is none.
        settings: settings of the search.
    """
    chosen = [result for result in results if result.arms]
    if not chosen or settings.policy == FIXED:
        return learned
    bandit = settings.bandit
    fade = bandit.discount ** len(chosen)
    known = [result.cost for result in chosen if result.cost is not None]
    trials, cost = learned.trials * fade + len(known), fsum([learned.cost * fade, *known])
    mean = cost / trials if trials else 0.0
    energies = sorted(r.energy for r in chosen if r.is_new and r.energy is not None)
    energy = learned.energy
    if energies:
        before = learned.trials * fade if energy is not None else 0.0
        energy = ((energy or 0.0) * before + median(energies) * len(energies)) / (before + len(energies))
    limit = _limit(energies, best, energy, bandit.window)
    gains = [Gain(r.arms, is_success=_is_success(r, limit), cost=_relative_cost(r, mean)) for r in chosen]
    arms: dict[str, dict[str, Arm]] = {
        kind: _updated(learned.arms.get(kind, {}), kind, gains, bandit.discount) for kind in KINDS
    }
    return Learned(arms, trials, cost, energy)


def _limit(energies: Sequence[float], best: float | None, middle: float | None, window: float) -> float:
    """Return the highest energy of a success, eV/atom.

    Args:
        energies: of the new structures, lowest first.
        best: lowest energy before them; in the first generation the lowest of them counts.
        middle: median energy of new structures.
        window: fraction of the distance from the best to the median.
    """
    lowest = best if best is not None else min(energies, default=0.0)
    return lowest + window * max(0.0, (lowest if middle is None else middle) - lowest)


def _updated(arms: Mapping[str, Arm], kind: Kind, gains: Sequence[Gain], discount: float) -> dict[str, Arm]:
    """Return the arms of a kind after a generation."""
    by_arm: dict[str, list[Gain]] = {}
    for gain in gains:
        if kind in gain.arms:
            by_arm.setdefault(gain.arms[kind], []).append(gain)
    fade = discount ** sum(map(len, by_arm.values()))
    found = {name: arm.faded(fade) for name, arm in arms.items()}
    for name in sorted(by_arm):
        before, own = found.get(name, Arm()), by_arm[name]
        found[name] = Arm(
            trials=before.trials + len(own),
            successes=before.successes + sum(gain.is_success for gain in own),
            cost=fsum([before.cost, *(gain.cost for gain in own)]),
        )
    return found


def _is_success(result: TrialResult, limit: float) -> bool:
    return result.is_new and result.energy is not None and result.energy <= limit


def _relative_cost(result: TrialResult, mean: float) -> float:
    if result.cost is None or mean <= 0:
        return 1.0
    return min(max(result.cost / mean, LEAST_COST), MOST_COST)


def weights(
    kind: Kind, prior: Mapping[str, float], learned: Learned, settings: SearchSettings, rng: np.random.Generator
) -> dict[str, float]:
    """Return with which weights one of several arms is chosen.

    Each arm has its weight in the settings times the chance that its rate of successes is the highest, and at least the
    floor. Before anything is known the rate of an arm is exponentially distributed, around that of all arms.

    Args:
        kind: what is chosen.
        prior: weight of each arm in the settings; those above 0 can be chosen.
        learned: what the search has learned.
        settings: settings of the search.
        rng: random generator; the fixed policy draws no number.

    Returns:
        Weights by name, with the sum of the given ones; the given ones if the policy is fixed or has learned nothing.
    """
    arms, total = learned.arms.get(kind, {}), sum(prior.values())
    names = sorted(name for name, weight in prior.items() if weight > 0)
    if settings.policy == FIXED or len(names) < 2 or not any(name in arms for name in names):
        return dict(prior)
    own = [arms.get(name, Arm()) for name in names]
    shapes = np.array([1 + arm.successes for arm in own])
    scales = 1 / (1 / _typical_rate(own) + np.array([arm.cost for arm in own]))
    best = rng.gamma(shapes, scales, size=(DRAWS, len(own))).argmax(axis=1)
    shares = np.array([prior[name] for name in names]) / total
    paying = shares * np.bincount(best, minlength=len(own))
    floor = settings.bandit.floor
    chances = total * (floor * shares + (1 - floor) * paying / paying.sum())
    return {**dict.fromkeys(prior, 0.0), **dict(zip(names, chances.tolist(), strict=True))}


def _typical_rate(arms: Sequence[Arm]) -> float:
    """Return the mean of the exponential distribution of the rates of arms, by expectation and maximisation."""
    successes = np.array([arm.successes for arm in arms])
    costs = np.array([arm.cost for arm in arms])
    typical = (1 + successes.sum()) / (1 + costs.sum())
    for _ in range(ITERATIONS):
        typical = np.mean((1 + successes) / (1 / typical + costs))
    return float(typical)
