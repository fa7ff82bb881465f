"""How often each move gives a trial, and how often that relaxes back, on crystals of 42 structure types.

    PYTHONPATH=. python benchmarks/moves.py
    PYTHONPATH=. python benchmarks/moves.py --paper
    PYTHONPATH=. python benchmarks/moves.py --relax 2 --every 4

An attempt is one call of a move and the checks of a search of protocol ``balanced``: preparing, validity, and that the
trial is not its parent. Where a move takes part of another walker's structure, two walkers hold random structures. With
``--paper`` the moves are the paper's (``exclusion: 1.0``). The table has attempts, the share of them that was refused,
the commonest reasons, and the CPU time of an attempt. With ``--relax`` crystals and so many trials of each are relaxed
with CHGNet; the last columns count the trials that converged, that are their parent again, and that are lower.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from aiida_fuse2.benchmarks.starts import evaluator, tier
from aiida_fuse2.core.chemistry.composition import formula_unit
from aiida_fuse2.core.crystal.uniqueness import are_equal
from aiida_fuse2.core.errors import GenerationError
from aiida_fuse2.core.moves import OWN
from aiida_fuse2.core.relaxers import relax
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.search.acceptance import Thermostat
from aiida_fuse2.core.search.proposing import Proposer
from aiida_fuse2.core.search.state import SearchState, Walker
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.protocols import protocol_inputs
from tests.core.structure_types import structure_types

CURRENT = "parent"
OTHERS = ("first", "second")
REASONS = 3
TOLERANCE = 0.001
"""A trial is lower if its energy is by more than this, eV/atom."""


class Count(NamedTuple):
    """The attempts of one move on one crystal, and the outcomes of the trials that were relaxed."""

    attempts: int
    made: int
    reasons: Counter[str]
    seconds: float
    relaxed: Counter[str]


def search_of(atoms: Atoms, changes: dict[str, Any]) -> tuple[SearchSettings, dict[str, Atoms]]:
    """Return settings for the composition of a crystal, and structures of it by label."""
    composition = formula_unit(Counter(atoms.get_chemical_symbols())).formula
    values = protocol_inputs("balanced", {"settings": {"max_atoms": max(50, len(atoms)), **changes}})["settings"]
    settings = parse_settings(SearchSettings, {**values, "composition": composition})
    proposer = Proposer(settings, SearchState.initial(1, 0.02), None, {})
    rng = np.random.default_rng(5)
    structures = {CURRENT: atoms}
    while len(structures) <= len(OTHERS):
        try:
            structures[OTHERS[len(structures) - 1]] = proposer.new.for_move(len(atoms), rng)
        except GenerationError:
            continue
    return settings, structures


def outcomes(trials: list[Atoms], parent: Atoms, energy: float) -> Counter[str]:
    """Relax trials and count what becomes of them."""
    found: Counter[str] = Counter()
    for trial in trials:
        relaxed = relax(trial, evaluator(), tier())
        if relaxed.status != CONVERGED:
            continue
        found["converged"] += 1
        if are_equal(relaxed.atoms, parent, stol=0.1):
            found["same"] += 1
        elif relaxed.values["energy"] < energy - TOLERANCE:
            found["lower"] += 1
    return found


def attempts(
    atoms: Atoms, names: list[str], count: int, n_relaxed: int, changes: dict[str, Any]
) -> Iterator[tuple[str, Count]]:
    """Try moves on a crystal and yield what came of it."""
    energy = 0.0
    if n_relaxed:
        relaxed = relax(atoms, evaluator(), tier())
        atoms, energy = relaxed.atoms, relaxed.values["energy"]
    settings, structures = search_of(atoms, changes)
    walkers = tuple(Walker(label, label, energy, Thermostat(0.02)) for label in structures)
    state = SearchState(**{**vars(SearchState.initial(3, 0.02)), "generation": 1, "walkers": walkers})
    for name in names:
        move, proposer = OWN[name], Proposer(settings, state, None, structures)
        sliced, context = proposer._slice(atoms, walkers[0]), proposer._context(0)  # noqa: SLF001
        if move.draws_from_pool or not move.applicable(sliced, context):
            continue
        begin, made = time.process_time(), 0
        for seed in range(count):
            made += proposer._try_move(move, sliced, atoms, context, walker=0, trial=0, attempt=seed)  # noqa: SLF001
        seconds = time.process_time() - begin
        trials = [trial.atoms for trial in proposer.draft.proposal.trials[:n_relaxed]]
        yield name, Count(count, made, proposer.draft.proposal.rejections, seconds, outcomes(trials, atoms, energy))


def main() -> None:
    """Measure all moves and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", action="store_true", help="the paper's moves")
    parser.add_argument("--attempts", type=int, default=6, help="attempts of each move on each crystal")
    parser.add_argument("--relax", type=int, default=0, help="trials of each move on each crystal to relax")
    parser.add_argument("--moves", nargs="+", default=list(OWN), help="names of the moves")
    parser.add_argument("--every", type=int, default=1, help="take every so many-th crystal")
    options = parser.parse_args()
    changes = {"exclusion": 1.0} if options.paper else {}
    found: dict[str, list[Count]] = {}
    for atoms in list(structure_types().values())[:: options.every]:
        for name, count in attempts(atoms, options.moves, options.attempts, options.relax, changes):
            found.setdefault(name, []).append(count)
    print("| move | crystals | attempts | refused, % | reasons, % of attempts | ms | relaxed | parent | lower |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in [name for name in OWN if name in found]:
        total = sum(count.attempts for count in found[name])
        refused = 100 * (1 - sum(count.made for count in found[name]) / total)
        reasons = sum((count.reasons for count in found[name]), Counter[str]()).most_common(REASONS)
        named = ", ".join(f"{reason} {100 * n / total:.0f}" for reason, n in reasons)
        cost = 1000 * sum(count.seconds for count in found[name]) / total
        ends = sum((count.relaxed for count in found[name]), Counter[str]())
        columns = [len(found[name]), total, f"{refused:.0f}", named, f"{cost:.0f}"]
        columns += [ends["converged"], ends["same"], ends["lower"]]
        print(f"| {OWN[name].full_name} | {' | '.join(map(str, columns))} |")


if __name__ == "__main__":
    main()
