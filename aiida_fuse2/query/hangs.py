"""Jobs that are past their wall time, and searches that have stood still for much longer than they usually take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median

import psutil
from aiida import orm

from . import PROCESS_TYPE, TERMINATED
from .links import NEWEST_FIRST
from .status import RATE_WINDOW, duration_text

SLACK = 120.0
"""Time that a job may take after its wall time to end and to be seen as ended, s."""

MANY = 10
"""A search stands still if it takes this many times longer than the median of its last generations..."""

LEAST = 300.0
"""...and at least this long, s."""

_RUNNING = {"attributes.process_state": {"!in": sorted(TERMINATED)}, "attributes.scheduler_state": "running"}


@dataclass(frozen=True, kw_only=True)
class Hang:
    """A process that takes too long.

    Attributes:
        pk: primary key of the job or the search.
        text: finding, for the user.
        job: primary key of the running job, or None.
    """

    pk: int
    text: str
    job: int | None


def late_jobs() -> Iterator[Hang]:
    """Yield the running jobs past their wall time: neither the scheduler nor the jobs themselves have ended them."""
    builder = orm.QueryBuilder()
    builder.append(orm.CalcJobNode, filters=_RUNNING, project=["id", "attributes", "ctime"], tag="job")
    builder.append(orm.Computer, with_node="job", project=["scheduler_type", "transport_type"])
    for pk, attributes, ctime, scheduler, transport in builder.all():
        limit = attributes.get("max_wallclock_seconds")
        taken = _seconds_at_work(attributes, ctime, scheduler, transport) if limit else None
        if taken is not None and taken > limit + SLACK:
            text = (
                f"{attributes.get('process_label')} {pk} has been at work for {duration_text(taken)}, longer than its"
            )
            yield Hang(pk=pk, text=f"{text} max_wallclock_seconds ({duration_text(limit)}): it hangs", job=pk)


def _seconds_at_work(attributes: dict, ctime: datetime, scheduler: str, transport: str) -> float | None:  # type: ignore[type-arg]
    """Return how long a job has been running, s; None if that is not known."""
    if scheduler != "core.direct":  # there it is CPU time
        told: float | None = (attributes.get("last_job_info") or {}).get("wallclock_time_seconds")
        return told
    now = datetime.now(tz=UTC)
    if transport != "core.local":
        return (now - ctime).total_seconds()
    try:
        return now.timestamp() - float(psutil.Process(int(attributes["job_id"])).create_time())
    except (psutil.Error, KeyError, ValueError):
        return None


def slow_searches() -> Iterator[Hang]:
    """Yield the searches that have decided on no generation for much longer than they usually take for one.

    Searches that are paused, fill a pool or wait for a scheduler are omitted.
    """
    builder = orm.QueryBuilder()
    filters = {"process_type": PROCESS_TYPE, "attributes.process_state": {"!in": sorted(TERMINATED)}}
    builder.append(orm.WorkChainNode, filters=filters, project=["id", "attributes.paused"])
    for pk, is_paused in builder.all():
        times = [] if is_paused else _decided(pk)
        if len(times) < 2:
            continue
        still = (datetime.now(tz=UTC) - times[0]).total_seconds()
        usual = median((a - b).total_seconds() for a, b in pairwise(times))
        if still > max(MANY * usual, LEAST):
            yield from _described(pk, still, usual)


def _decided(search: int) -> list[datetime]:
    """Return when the last generations of a search were decided, newest first."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
    decide = {"attributes.process_label": "decide"}
    builder.append(orm.CalcFunctionNode, with_incoming="search", filters=decide, project="ctime", tag="decide")
    found: list[datetime] = builder.order_by({"decide": NEWEST_FIRST}).limit(RATE_WINDOW).all(flat=True)
    return found


def _described(search: int, still: float, usual: float) -> Iterator[Hang]:
    active = [node for node in orm.load_node(search).called_descendants if not node.is_terminated]
    jobs = [node for node in active if isinstance(node, orm.CalcJobNode)]
    running = [job for job in jobs if job.base.attributes.get("scheduler_state", None) == "running"]
    is_pool = any((job.process_type or "").endswith("fuse2.generate") for job in jobs)
    if is_pool or any(node.paused for node in active) or len(running) < len(jobs):
        return
    text = f"search {search} has decided on no generation for {duration_text(still)}, and usually takes"
    text = f"{text} {duration_text(usual)} for one"
    if running:
        at_work = ", ".join(f"{job.process_label} {job.pk}" for job in running)
        text += f"; {at_work} may hang: what a job that is killed has not finished is done again"
    yield Hang(pk=search, text=text, job=running[0].pk if running else None)
