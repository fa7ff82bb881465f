"""What the policy learns from a trial of a search."""

from __future__ import annotations

from aiida_fuse2.core.settings import SearchSettings

from .policy import Kind
from .starts import POOL, pool_generators, population_shares
from .trials import TrialInfo


def chosen_arms(info: TrialInfo, n_atoms: int, settings: SearchSettings) -> dict[Kind, str]:
    """Return what was chosen for a trial: its move, or the generator of a new structure; and the size of the latter.

    Structures of the user and rattled copies were not chosen, nor was the size of a structure from the pool. That of
    one that a move took from a generator was. The size is that of the trial, which is smaller than the drawn one
    if the structure has a smaller primitive cell.

    Args:
        info: origin of the trial.
        n_atoms: number of its atoms.
        settings: settings of the search.
    """
    arms: dict[Kind, str] = {}
    generators = population_shares(settings).keys() - {POOL}
    if info.move:
        arms["move"] = info.move
    elif info.origin in generators:
        arms["generator"] = info.origin
    elif info.origin in pool_generators(settings):
        arms["generator"] = POOL
    if info.origin in {*generators, settings.random_generator}:
        arms["size"] = str(n_atoms // settings.unit.n_atoms)
    return arms
