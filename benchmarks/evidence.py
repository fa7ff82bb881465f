"""How often the bound on the chance of a lower structure is wrong, and what it says about the global minimum.

    python benchmarks/evidence.py --runs 2000
    python benchmarks/evidence.py --rows benchmarks/results/*.jsonl --plot docs/explanation/evidence.png

Searches are simulated on invented landscapes, where the chance of a lower structure is known at each trial. A run is
wrong if the mean chance since the last new best reaches the bound at any time. The last columns are the share of runs
that had found the global minimum when the bound fell to the chance in the title for the first time.

With ``--rows`` the searches are real ones, of `benchmark search` and `benchmark csp` without prototypes. The lowest
structure is then the lowest that any search in the files has found for the composition, with or without prototypes. All
structures count, since the rows do not say of which size each was.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aiida_fuse2.benchmarks.plots import save
from aiida_fuse2.benchmarks.results import ResultsFile, SearchRow
from aiida_fuse2.benchmarks.statistics import Estimate, success_rate
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
    weights: NDArray[np.float64] = rng.pareto(0.8, N_BASINS) * np.exp(-ease * np.arange(N_BASINS) / N_BASINS)
    chances: NDArray[np.float64] = weights / weights.sum()
    return chances


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


@dataclass(frozen=True)
class Calibration:
    """What became of real searches after the bound had fallen to a chance for the first time.

    Attributes:
        stated: the chance.
        searches: number of searches in which it did.
        found: share of them that had found the lowest known structure by then.
        lower: number of structures, among those that the searches tried after it, that were new bests before the
            search was as long again, and the number of these structures.
    """

    stated: float
    searches: int
    found: Estimate
    lower: tuple[int, int]


def calibrate(rows: Sequence[SearchRow], within: float = 0.001) -> list[Calibration]:
    """Return what real searches say of the bound.

    Args:
        rows: searches; those with prototypes only serve to know the lowest structures.
        within: largest energy above the lowest known at which that counts as found, eV/atom.
    """
    lowest: defaultdict[tuple[str, str], float] = defaultdict(lambda: np.inf)
    for row in rows:
        if row.best is not None:
            place = (row.composition, row.potential.split(" native")[0])
            lowest[place] = min(lowest[place], row.best.energy)
    outcomes: defaultdict[float, list[tuple[bool, int, int]]] = defaultdict(list)
    for row in rows:
        if row.course and "prototypes" not in row.generator:
            known = lowest[row.composition, row.potential.split(" native")[0]]
            for stated in CHANCES:
                outcome = _outcome(row, stated, known + within)
                if outcome is not None:
                    outcomes[stated].append(outcome)
    return [
        Calibration(
            stated,
            len(found),
            success_rate(sum(is_found for is_found, _, _ in found), len(found)),
            (sum(lower for _, lower, _ in found), sum(tried for _, _, tried in found)),
        )
        for stated, found in outcomes.items()
    ]


def _outcome(row: SearchRow, stated: float, enough: float) -> tuple[bool, int, int] | None:
    """Return whether a search had found what is enough when its bound fell to a chance, and its new bests after that.

    They are counted until the search is as long again since its last new best. None if the bound never fell so low.
    """
    ends = [*(new.structures for new in row.course[1:]), row.structures + 1]
    for new_bests, (new, end) in enumerate(zip(row.course, ends, strict=True), start=1):
        since = int(np.ceil(sum_bound(new_bests, CONFIDENCE) / stated))
        if new.structures + since < end:
            first, last = new.structures + since, min(new.structures + 2 * since, row.structures)
            return new.energy <= enough, sum(first < later.structures <= last for later in row.course), last - first
    return None


def print_calibration(paths: Sequence[Path], plot: Path | None) -> None:
    """Print the table of real searches, and draw it."""
    rows = [row for path in paths for row in ResultsFile(path, SearchRow).rows]
    found = sorted(calibrate(rows), key=lambda one: -one.stated)
    print("| stated chance | searches | had found the lowest known | new bests among the structures after it |")
    print("|---" * 4 + "|")
    for one in found:
        lower, tried = one.lower
        share, low, high = (100 * (value or 0.0) for value in (one.found.value, one.found.low, one.found.high))
        rate = f"{lower} of {tried}: {100 * lower / tried:.1f} %" if tried else ""
        print(f"| {100 * one.stated:g} % | {one.searches} | {share:.0f} % ({low:.0f} to {high:.0f}) | {rate} |")
    if plot is not None:
        _draw(found, plot)


def _draw(found: Sequence[Calibration], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    stated = [100 * one.stated for one in found]
    ends = [(one.found.value, one.found.low or 0.0, one.found.high or 0.0) for one in found]
    shares = 100 * np.array(ends)
    axes.errorbar(
        stated,
        shares[:, 0],
        yerr=np.abs(shares[:, 1:].T - shares[:, 0]),
        marker="o",
        capsize=3,
        color="#1f5fa8",
        label="had found the lowest known structure",
    )
    rates = [(100 * one.stated, 100 * one.lower[0] / one.lower[1]) for one in found if one.lower[1]]
    axes.plot(*zip(*rates, strict=True), marker="s", color="#b5532d", label="structures after it that were new bests")
    axes.plot(stated, stated, color="grey", linestyle="--", label="the stated chance")
    axes.set(xscale="log", ylim=(0, 100), xlabel="stated chance of a lower structure, %", ylabel="%")
    axes.set_xticks(stated, [f"{chance:g}" for chance in stated])
    axes.minorticks_off()
    axes.invert_xaxis()
    axes.legend(frameon=False, loc="upper left")
    save(figure, path)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=Path, nargs="+", help="results of real searches, in place of simulations")
    parser.add_argument("--plot", type=Path, help="PNG of the table of real searches")
    options = parser.parse_args()
    if options.rows:
        print_calibration(options.rows, options.plot)
        return
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
