"""Queries of the graph about a search: its progress and its results.

All of them work while the search runs, after it has ended, and on an imported archive.
"""

from __future__ import annotations

from .activity import tiers_phase
from .evidence import evidence
from .loading import (
    PROCESS_TYPE,
    RUNS_PROCESS_TYPE,
    TERMINATED,
    NoSearchError,
    active_searches,
    is_runs,
    listed,
    load_search,
    load_search_or_runs,
    run_searches,
    runs_settings,
    search_settings,
    search_settings_of,
    single_searches,
)
from .ranking import combined, ranked
from .refinements import is_refinement
from .relaxation import relaxed_to
from .results import load_results
from .status import STOPPED_EXIT, BestFound, Progress, RunsProgress, present_state, progress, runs_progress
from .stopping import ask_to_stop, kill_jobs
from .tables import best, explored, lineage, phases, searches

__all__ = [
    "PROCESS_TYPE",
    "RUNS_PROCESS_TYPE",
    "STOPPED_EXIT",
    "TERMINATED",
    "BestFound",
    "NoSearchError",
    "Progress",
    "RunsProgress",
    "active_searches",
    "ask_to_stop",
    "best",
    "combined",
    "evidence",
    "explored",
    "is_refinement",
    "is_runs",
    "kill_jobs",
    "lineage",
    "listed",
    "load_results",
    "load_search",
    "load_search_or_runs",
    "phases",
    "present_state",
    "progress",
    "ranked",
    "relaxed_to",
    "run_searches",
    "runs_progress",
    "runs_settings",
    "search_settings",
    "search_settings_of",
    "searches",
    "single_searches",
    "tiers_phase",
]
