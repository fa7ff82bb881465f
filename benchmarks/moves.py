"""How often each move gives a trial, on crystals of 42 structure types; no relaxation.

    PYTHONPATH=. python benchmarks/moves.py
    PYTHONPATH=. python benchmarks/moves.py --paper

An attempt is one call of a move and the checks of a search of protocol ``balanced``: preparing, validity, and that the
trial is not its parent. Where a move takes part of another walker's structure, two walkers hold random
structures. With ``--paper`` the moves are the paper's (``exclusion: 1.0``). The table has attempts, the share of them
that was refused, the commonest reasons, and the CPU time of an attempt.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from aiida_fuse2.core.chemistry.composition import formula_unit
from aiida_fuse2.core.errors import GenerationError
from aiida_fuse2.core.moves import OWN
from aiida_fuse2.core.search.acceptance import Thermostat
from aiida_fuse2.core.search.proposing import Proposer
from aiida_fuse2.core.search.state import SearchState, Walker
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.protocols import protocol_inputs
from tests.core.structure_types import structure_types

CURRENT = "parent"
OTHERS = ("first", "second")
REASONS = 3


class Count(NamedTuple):
    """The attempts of one move on one crystal."""

    attempts: int
    made: int
    reasons: Counter[str]
    seconds: float


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
            structures[OTHERS[len(structures) - 1]] = proposer.random_structure(len(atoms), rng)
        except GenerationError:
            continue
    return settings, structures


def attempts(atoms: Atoms, count: int, changes: dict[str, Any]) -> Iterator[tuple[str, Count]]:
    """Try each move on a crystal and yield what came of it."""
    settings, structures = search_of(atoms, changes)
    walkers = tuple(Walker(label, label, 0.0, Thermostat(0.02)) for label in structures)
    state = SearchState.initial(len(walkers), 0.02)
    state = SearchState(**{**vars(state), "generation": 1, "walkers": walkers})
    proposer = Proposer(settings, state, None, structures)
    sliced = proposer._slice(atoms)  # noqa: SLF001
    for name, move in OWN.items():
        if move.draws_from_pool or not move.applicable(sliced, proposer._context(0)):  # noqa: SLF001
            continue
        proposer.proposal.rejections.clear()
        begin, made = time.process_time(), 0
        for seed in range(count):
            made += proposer._try_move(  # noqa: SLF001
                move, sliced, atoms, walker=0, trial=0, attempt=seed, rng=np.random.default_rng(seed)
            )
        yield name, Count(count, made, Counter(proposer.proposal.rejections), time.process_time() - begin)


def main() -> None:
    """Measure all moves and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", action="store_true", help="the paper's moves")
    parser.add_argument("--attempts", type=int, default=10, help="attempts of each move on each crystal")
    options = parser.parse_args()
    found: dict[str, list[Count]] = {}
    for atoms in structure_types().values():
        for name, count in attempts(atoms, options.attempts, {"exclusion": 1.0} if options.paper else {}):
            found.setdefault(name, []).append(count)
    print("| move | crystals | attempts | refused, % | reasons, % of attempts | ms |\n|---|---|---|---|---|---|")
    for name in [name for name in OWN if name in found]:
        total = sum(count.attempts for count in found[name])
        refused = 100 * (1 - sum(count.made for count in found[name]) / total)
        reasons = sum((count.reasons for count in found[name]), Counter[str]()).most_common(REASONS)
        named = ", ".join(f"{reason} {100 * n / total:.0f}" for reason, n in reasons)
        cost = 1000 * sum(count.seconds for count in found[name]) / total
        print(f"| {OWN[name].full_name} | {len(found[name])} | {total} | {refused:.0f} | {named} | {cost:.1f} |")


if __name__ == "__main__":
    main()
