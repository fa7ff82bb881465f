"""How often the bound on the chance of a lower structure is wrong, and what it says about the global minimum.

    python benchmarks/evidence.py --runs 2000

Searches are simulated on invented landscapes, where the chance of a lower structure is known at each trial. A run is
wrong if the mean chance since the last new best reaches the bound at any time. The last columns are the share of runs
that had found the global minimum when the bound fell to the chance in the title for the first time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from aiida_fuse2.core.search.watching import sum_bound

CONFIDENCE = 0.95
CHANCES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002)
N_BASINS = 1000
TRIALS = 5000

Trial = tuple[float, bool, bool]
"""Chance of a lower structure before the trial, whether it was lower, whether the lowest of all is known after it."""

Model = Callable[[np.random.Generator], Iterator[Trial]]


def heavy_tailed(rng: np.random.Generator, ease: float) -> NDArray[np.float64]:
    """Return the chance of each basin, lowest energy first: Pareto, and larger for low energies with ``ease`` > 0."""
    weights = rng.pareto(0.8, N_BASINS) * np.exp(-ease * np.arange(N_BASINS) / N_BASINS)
    return weights / weights.sum()


def independent(rng: np.random.Generator, ease: float = 0.0) -> Iterator[Trial]:
    """Draw basins by their chances; yield the trials after the first."""
    chances = heavy_tailed(rng, ease)
    below = np.concatenate([[0.0], np.cumsum(chances)])
    best: int | None = None
    for basin in rng.choice(N_BASINS, TRIALS, p=chances):
        if best is not None:
            yield float(below[best]), bool(basin < best), bool(min(best, basin) == 0)
        best = int(basin) if best is None else min(best, int(basin))


def walking(rng: np.random.Generator, reach: int = 25) -> Iterator[Trial]:
    """Walk downhill and sometimes uphill on a ring of basins in a few funnels; every other trial is drawn anew."""
    chances = rng.permutation(heavy_tailed(rng, 0.0))
    place = np.arange(N_BASINS)
    energies = np.sin(2 * np.pi * (place / 200 + rng.random())) + rng.normal(0, 0.5, N_BASINS)
    lowest = energies.min()
    current = int(rng.choice(N_BASINS, p=chances))
    best = energies[current]
    for _ in range(TRIALS):
        near = (current + np.arange(-reach, reach + 1)) % N_BASINS
        chance = 0.5 * chances[energies < best].sum() + 0.5 * np.mean(energies[near] < best)
        basin = int(rng.choice(near) if rng.random() < 0.5 else rng.choice(N_BASINS, p=chances))
        if rng.random() < np.exp(min((energies[current] - energies[basin]) / 0.3, 0)):
            current = basin
        is_lower = bool(energies[basin] < best)
        best = min(best, energies[basin])
        yield float(chance), is_lower, bool(best == lowest)


def endless(rng: np.random.Generator, chance: float = 0.02) -> Iterator[Trial]:
    """Always leave the same chance of a lower structure, for which the bound is sharpest."""
    for is_lower in rng.random(TRIALS) < chance:
        yield chance, bool(is_lower), False


MODELS: dict[str, Model] = {
    "independent, any basin may be lowest": independent,
    "independent, low basins are wider": lambda rng: independent(rng, 5.0),
    "walk between funnels": walking,
    "the same chance for ever": endless,
}


@dataclass
class Run:
    """What happened in a run: whether the bound was wrong, and whether the lowest was known at each stated chance."""

    is_wrong: bool = False
    known: dict[float, bool] = field(default_factory=dict)


def follow(trials: Iterator[Trial], scale: float = 1.0) -> Run:
    """Compare the bound with the truth at every trial.

    Args:
        trials: trials after the first structure.
        scale: factor of the bound; only 1 is right.
    """
    run, new_bests, since, total = Run(), 1, 0, 0.0
    for chance, is_lower, is_known in trials:
        if is_lower:
            new_bests, since, total = new_bests + 1, 0, 0.0
            continue
        since, total = since + 1, total + chance
        bound = scale * sum_bound(new_bests, CONFIDENCE)
        run.is_wrong |= total >= bound
        for stated in CHANCES:
            if bound / since <= stated:
                run.known.setdefault(stated, is_known)
    return run


def simulate(model: Model, runs: int, *, seed: int, scale: float = 1.0, trials: int = TRIALS) -> list[Run]:
    """Return independent runs."""
    streams = np.random.default_rng(seed).spawn(runs)
    return [follow(islice(model(rng), trials), scale) for rng in streams]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| search | wrong | " + " | ".join(f"{100 * c:g} %" for c in CHANCES) + " |")
    print("|---" * (2 + len(CHANCES)) + "|")
    for name, model in MODELS.items():
        runs = simulate(model, options.runs, seed=options.seed)
        cells = [f"{100 * np.mean([run.is_wrong for run in runs]):.2f} %"]
        for stated in CHANCES:
            known = [run.known[stated] for run in runs if stated in run.known]
            cells.append(f"{100 * np.mean(known):.0f} %" if known and model is not endless else "")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
