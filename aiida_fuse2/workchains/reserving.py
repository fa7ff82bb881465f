"""A WorkChain that can end where the disk has run full."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import WorkChain
from kiwipy import UnroutableError  # type: ignore[import-untyped]

from aiida_fuse2.disk import is_disk_full
from aiida_fuse2.reserve import WATCH, Reserve, StoresItsEnd, make_way, roll_back

from .orphans import ENDED
from .stopping import jobs_to_kill

SPENT = "the disk ran full, and the space set aside (settings.disk_reserve) was given back"
"""Why a search ends that has no reserve any more."""

KILL_AGAIN = 2.0
"""Time between two attempts to kill what a search waits for, s."""

KILLED = "the disk ran full"
"""What a job is told that is killed."""


class ReservingWorkChain(StoresItsEnd, WorkChain):
    """Sets space aside, and gives it back and kills its jobs where the disk runs full."""

    _kills: dict[int, Any] | None = None
    """Futures of the answers to attempts to kill jobs, by primary key; never stored."""

    _revived: set[int]
    """Jobs that were given to a worker again, so that they can be killed."""

    def set_space_aside(self) -> None:
        """Hold what it takes to end where the disk runs full; where there is not enough, nothing is held."""
        reserve = self._reserve()
        remove_left_over(path.parent for path in reserve.paths)
        self.ctx.has_reserve = bool(reserve.size) and reserve.hold()
        self._watch_disk()

    def reserve_size(self) -> float:
        """Return how much to set aside, GB."""
        raise NotImplementedError

    def is_reserve_spent(self) -> bool:
        """Tell whether the disk has run full."""
        return bool(self.ctx.get("has_reserve")) and not self._reserve().is_held

    # --- the process --------------------------------------------------------------------------------

    def init(self) -> None:
        """Look at the disk again, after a worker was started anew."""
        super().init()
        if not self.has_terminated():
            self._watch_disk()

    def on_close(self) -> None:
        """Leave the disk alone; another worker may go on with the process."""
        WATCH.remove(str(self.node.uuid))
        super().on_close()

    def on_terminated(self) -> None:
        """Give everything back before the end is stored."""
        if self.ctx.get("has_reserve"):
            self._reserve().give_back()
        super().on_terminated()

    def _do_step(self) -> Any:
        """Take a step; again where the disk was full: there is room then, and a kill makes a step run twice, too."""
        try:
            return super()._do_step()
        except Exception as error:
            if not is_disk_full(error):
                raise
            make_way()
            return super()._do_step()

    def _reserve(self) -> Reserve:
        return Reserve.of(str(self.node.uuid), self.reserve_size())

    def _watch_disk(self) -> None:
        if self.is_reserve_spent():
            self.loop.call_soon(self._on_full_disk)
        elif self.ctx.get("has_reserve"):
            WATCH.add(str(self.node.uuid), self._reserve(), self._tell)

    def _tell(self) -> None:
        """Act on a full disk; called from any thread."""
        try:
            self.loop.call_soon_threadsafe(self._on_full_disk)
        except RuntimeError:  # the worker is about to end, and another one will find the reserve spent
            return

    def _on_full_disk(self) -> None:
        """Kill what the process waits for, again until it has ended."""
        is_over = False
        try:
            is_over = self.runner.is_closed() or self._end_jobs()
        finally:
            if not is_over:
                self.loop.call_later(KILL_AGAIN, self._on_full_disk)

    def _end_jobs(self) -> bool:
        """Kill the jobs that run; tell whether there is nothing left to do for this process."""
        roll_back()
        if self.has_terminated():
            self._revive()
            return True
        if self._kills is None:
            self._kills, self._revived = {}, set()
            self.report(f"{SPENT}: jobs are killed")
        for job in jobs_to_kill([self.node.pk]):
            self._kill(int(job.pk))
        return False

    def _revive(self) -> None:
        """Let a worker take the process up again, from its last stored step, where not even its end could be stored."""
        if not orm.load_node(self.node.pk).is_terminated and self.runner.controller is not None:
            self.close()
            self.runner.controller.continue_process(self.node.pk, nowait=False, no_reply=True)

    def _kill(self, job: int) -> None:
        """Kill a job; one that no worker has, since its task could not be written, is given to one first."""
        controller = self.runner.controller
        if controller is None or self._kills is None:
            return
        answer = self._kills.get(job)
        if answer is not None and not answer.done():
            return
        if answer is not None and _is_unheard(answer.exception()) and job not in self._revived:
            self._revived.add(job)  # once: two workers must not have it
            controller.continue_process(job, nowait=False, no_reply=True)
        self._kills[job] = controller.kill_process(job, msg_text=KILLED)


def _is_unheard(error: BaseException | None) -> bool:
    """Tell whether a message had nobody to go to, as RabbitMQ or the ZeroMQ broker says it."""
    return isinstance(error, UnroutableError) or "not found" in str(error)


def remove_left_over(folders: Iterable[Path]) -> None:
    """Remove the reserves of processes that were sealed after a kill, or deleted, and so could not do it.

    Args:
        folders: that hold reserves, each a file with the UUID of its process as its name.
    """
    files = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    names = {path.name for path in files}
    alive: dict[str, Any] = {"uuid": {"in": sorted(names)}, "attributes.process_state": {"!in": sorted(ENDED)}}
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters=alive, project="uuid")
    ended = names - set(builder.all(flat=True)) if names else set()
    for path in files:
        if path.name in ended:
            path.unlink(missing_ok=True)
