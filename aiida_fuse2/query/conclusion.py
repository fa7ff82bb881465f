"""The end of a search, or of several runs of one, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent

from aiida_fuse2.core.answer.conclusion import Conclusion, Ended, conclude_search
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.settings import SearchSettings
from aiida_fuse2.tiers import find_tier
from aiida_fuse2.tiers.base import Tier
from aiida_fuse2.tiers.dft import DftTier

from .evidence import evidence
from .finishes import newest_finish, order, phases
from .loading import is_runs, runs_settings, search_settings, single_searches
from .status import present_state
from .tiers import last_tier


def conclusion(
    node: orm.WorkChainNode,
    ranked: Sequence[Mapping[str, Any]],
    command: Callable[[str], str] = "aiida-fuse2 {}".format,
) -> Conclusion:
    """Return in words what a search found, how sure that is, and what to do next.

    Args:
        node: search, or several runs of one, ended.
        ranked: result of ``query.ranked``; of runs that of ``query.combined``, at least the first rows.
        command: returns a command of ``aiida-fuse2`` as it is typed.
    """
    several = is_runs(node)
    settings = runs_settings(node) if several else search_settings(node)
    searches = single_searches(node)
    states = [state for search in searches if (state := present_state(search.pk)) is not None]
    failures: Counter[str] = sum((Counter(state.failures) for state in states), Counter())
    finish = newest_finish(node) if searches else None
    ordered = None if finish is None else order(finish)
    tier = _last_tier(searches[0]) if searches else None
    ended = Ended(
        pk=node.pk,
        formula=settings.unit.formula,
        runs=sum(state.best is not None for state in states) if several else None,
        tried=sum(state.tried for state in states),
        failures=failures,
        max_structures=settings.max_structures,
        max_atoms=settings.max_atoms,
        phases=[] if finish is None else phases(finish),
        order="" if ordered is None else ordered.statement,
        ranked=ranked,
        evidence=None if several else evidence(node.pk),
        limits="" if several or not states else _limits(states[0], settings),
        can_finish=tier is not None,
        is_dft=tier is not None and issubclass(tier, DftTier),
    )
    return conclude_search(ended, command)


def _last_tier(search: orm.WorkChainNode) -> type[Tier] | None:
    """Return the last tier of a search, or None if it is not in this profile or not installed."""
    try:
        return find_tier(last_tier(search.inputs)[0])
    except (KeyError, NotExistent):  # missing in an archive
        return None


def _limits(state: SearchState, settings: SearchSettings) -> str:
    """Return the options that double the limits, besides that of structures, which a search has reached."""
    options = []
    if state.since_best >= settings.rmax:
        options.append(f"--set settings.rmax={2 * settings.rmax}")
    if settings.max_cpu_hours is not None and state.cpu_seconds >= 3600 * settings.max_cpu_hours:
        options.append(f"--max-cpu-hours {2 * settings.max_cpu_hours:g}")
    if settings.stop_chance is not None and state.watch.has_ended(settings):
        options.append(f"--stop-chance {settings.stop_chance / 2:g}")
    return " ".join(options)
