"""Walkers that begin anew: those that are stuck, and those that hold the structure of another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from aiida_fuse2.core.rng import Purpose, keyed_generator
from aiida_fuse2.core.settings import SearchSettings

from .state import LowStructure, Walker

STUCK = "stuck"
"""Reason: no downhill step for long."""

MET = "met another"
"""Reason: a walker before it holds the same structure."""


def begin_anew(
    walkers: Sequence[Walker], lowest: Sequence[LowStructure], settings: SearchSettings, generation: int
) -> tuple[tuple[Walker, ...], Counter[str]]:
    """Return the walkers after some of them have begun anew, and how many did so, by reason.

    With equal chances a walker begins from the lowest structure that no walker holds, or with a new one.

    Args:
        walkers: walkers after their steps.
        lowest: the lowest different structures, lowest first.
        settings: settings of the search.
        generation: index of the generation.
    """
    criteria, reasons = settings.acceptance, Counter[str]()
    if criteria.restart_threshold is None:
        return tuple(walkers), reasons
    held, placed = {walker.representative for walker in walkers}, list[Walker]()
    for index, walker in enumerate(walkers):
        has_met = any(other.representative == walker.representative for other in placed)
        if walker.current is None or not (has_met or walker.thermostat.is_stuck(criteria)):
            placed.append(walker)
            continue
        reasons[MET if has_met else STUCK] += 1
        rng = keyed_generator(settings.seed, Purpose.RESTART, walker=index, generation=generation)
        free = next((low for low in lowest if low.label not in held), None)
        moved = walker.begun_anew(criteria.temperature, None if rng.random() < 0.5 else free)
        held.add(moved.representative)
        placed.append(moved)
    return tuple(placed), reasons
