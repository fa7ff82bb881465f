"""The current phase of a search, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiida import orm

from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.io.names import RESULTS_FILE

from .links import FINISH_LINK, NEWEST_FIRST, TARGETS_LINK
from .loading import TERMINATED

MAX_CHILDREN = 40
"""Number of the newest called processes that decide the phase of a search."""

TIERS_LABEL = "RelaxTiersWorkChain"
"""Name of the process that relaxes structures in tiers."""

STEPS = {
    "target_trials": "starting",
    "begin": "starting",
    "resume": "starting",
    "propose": "proposing generation {generation}",
    "recognise": "proposing generation {generation}",
    "decide": "deciding on generation {generation}",
    "summarise": "summarising",
}
"""Phase of a search, by the calcfunction that it called last."""


def search_phase(search: int, state: SearchState | None) -> str:
    """Return the phase of a search, from the processes that it called last.

    Args:
        search: primary key of the search.
        state: after its last generation, or None before the first has ended.
    """
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"id": search}, tag="search")
    project = ["id", "attributes"]
    builder.append(orm.ProcessNode, with_incoming="search", project=project, edge_project="label", tag="child")
    builder.order_by({"child": NEWEST_FIRST}).limit(MAX_CHILDREN)
    children = builder.all()
    if not children:
        return "starting"
    _, attributes, label = children[0]
    generation = 0 if state is None else state.generation
    if label == TARGETS_LINK:
        return "relaxing the targets " + jobs_text([attributes])
    if label == FINISH_LINK:
        return "finding the phases"
    if label.startswith("pool_"):
        return "filling the pool " + jobs_text([attributes])
    if label.startswith("relax_"):
        step = label.rpartition("_")[0]
        called = {child: values for child, values, name in children if name.rpartition("_")[0] == step}
        has_tiers = attributes.get("process_label") == TIERS_LABEL
        jobs = tiers_phase(list(called)) if has_tiers else jobs_text(list(called.values()))
        return f"relaxing generation {int(step.rpartition('_')[2])} {jobs}"
    return STEPS.get(attributes.get("process_label", ""), "running").format(generation=generation)


def tiers_phase(pks: Sequence[int]) -> str:
    """Return the tiers that structures are in and the states of the jobs of these tiers, as text.

    Args:
        pks: primary keys of the processes that take shares of the structures through the tiers.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": {"in": list(pks)}}, project="id", tag="tiers")
    edges = {"label": {"like": "t%"}}
    builder.append(
        orm.ProcessNode, with_incoming="tiers", edge_filters=edges, edge_project="label", project="attributes"
    )
    jobs = [(pk, label.partition("_")[0], values) for pk, values, label in builder.all()]
    latest: dict[int, str] = {}
    for pk, key, _ in jobs:
        latest[pk] = max(key, latest.get(pk, key))
    names = _tier_names(pks[0])
    text = ", ".join(names[key] for key in sorted(set(latest.values())))
    return (f"by {text} " if text else "") + jobs_text([values for pk, key, values in jobs if latest[pk] == key])


def _tier_names(pk: int) -> dict[str, str]:
    """Return the names of the tiers of a process by their keys."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": pk}, tag="tiers")
    edges = {"label": {"like": "tiers%name"}}
    builder.append(orm.Str, with_outgoing="tiers", edge_filters=edges, edge_project="label", project="attributes.value")
    return {label.split("__")[1]: name for name, label in builder.all()}


def jobs_text(jobs: Sequence[dict[str, Any]]) -> str:
    """Return the states of jobs, and the progress of the running ones if their files are on this machine."""
    states = Counter(_job_state(attributes) for attributes in jobs)
    shown = ", ".join(f"{number} {state}" if len(jobs) > 1 else state for state, number in sorted(states.items()))
    done = sum(_lines_written(attributes.get("remote_workdir")) for attributes in jobs)
    relaxed = f"{done} relaxed; " if done else ""
    return f"({relaxed}job{'s' if len(jobs) > 1 else ''}: {shown})"


def _job_state(attributes: dict[str, Any]) -> str:
    if attributes.get("paused"):
        return "paused"
    if attributes.get("process_state") in TERMINATED:
        return "ended"
    if attributes.get("state") == "withscheduler":
        return attributes.get("scheduler_state") or "submitted"
    return attributes.get("state") or "waiting"


def _lines_written(folder: str | None) -> int:
    """Return how many results a job has written, or 0 if its folder is on another machine."""
    if folder is None:
        return 0
    try:
        return (Path(folder) / RESULTS_FILE).read_bytes().count(b"\n")
    except OSError:
        return 0
