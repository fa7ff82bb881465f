"""Space that a search sets aside, so that it can end where the disk has run full.

Where nothing can be stored, not even an end can be. So a search holds a file, and gives it back when nothing else is
left: what then fits is enough to kill its jobs, to store its results and to seal it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from aiida.engine import Process
from aiida.manage import get_manager
from sqlalchemy import event
from sqlalchemy.engine import Engine

from .broker import broker_layout, has_zeromq_broker, is_empty
from .disk import data_folders, existing, is_disk_full

FOLDER = "fuse2-reserve"
"""Folder of the files, below those that AiiDA stores in."""

LEAST_LEFT = 0.2
"""A reserve is given back when less than this part of its size is left on the disk."""

CHUNK = 2**20
"""How much is written at a time where a system cannot set space aside, bytes."""

LOOK = 0.2
"""Time between two looks at the disk, s; it takes microseconds. A broker that starts again takes longer than this."""


@dataclass(frozen=True, kw_only=True)
class Reserve:
    """The files that a search holds, one on each disk that AiiDA stores on.

    Attributes:
        paths: of the files.
        size: of each, bytes.
    """

    paths: tuple[Path, ...]
    size: int

    @classmethod
    def of(cls, search: str, gigabytes: float) -> Reserve:
        """Return the reserve of a search, which need not be there.

        Args:
            search: its UUID.
            gigabytes: size on each disk, GB.
        """
        by_disk = {existing(folder).stat().st_dev: folder for folder in data_folders().values()}
        profile = get_manager().get_profile().uuid  # profiles share the folder of the configuration
        paths = tuple(folder / FOLDER / profile / search for folder in by_disk.values())
        return cls(paths=paths, size=round(gigabytes * 1e9))

    def hold(self) -> bool:
        """Take the space; tell whether there was enough."""
        try:
            for path in self.paths:
                path.parent.mkdir(parents=True, exist_ok=True)
                _allocate(path, self.size)
        except OSError:
            self.give_back()
            return False
        return True

    @property
    def is_held(self) -> bool:
        """Whether all of it is there."""
        return all(path.exists() for path in self.paths)

    @property
    def is_needed(self) -> bool:
        """Whether so little is left on one of the disks that it has to be given back."""
        return any(_left(path.parent) < LEAST_LEFT * self.size for path in self.paths)

    def give_back(self) -> None:
        """Remove the files."""
        for path in self.paths:
            with contextlib.suppress(OSError):
                path.unlink()


def _allocate(path: Path, size: int) -> None:
    """Make a file whose space is taken, bytes."""
    with path.open("wb") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
            return
        for start in range(0, size, CHUNK):
            stream.write(bytes(min(CHUNK, size - start)))


def _left(folder: Path) -> int:
    """Return how much can be written to the disk of a folder, bytes; as much as you like where it cannot be asked."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 2**63
    return found.f_bavail * found.f_frsize


class Watch:
    """Looks at the disks for all searches of this process, at times and before anything is stored."""

    def __init__(self) -> None:
        self._searches: dict[str, tuple[Reserve, Callable[[], None]] | None] = {}
        self._sockets_file: Path | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, search: str, reserve: Reserve, tell: Callable[[], None]) -> None:
        """Begin to look for a search.

        Args:
            search: its UUID.
            reserve: what it holds.
            tell: called once, from any thread, when that was given back.
        """
        sockets_file = broker_layout().sockets_file if has_zeromq_broker() else None
        with self._lock:
            self._searches[search] = (reserve, tell)
            self._sockets_file = sockets_file
            if self._thread is None:
                if not event.contains(Engine, "commit", self.look):
                    event.listen(Engine, "commit", self.look)
                    event.listen(Engine, "before_cursor_execute", self._look_before)
                self._thread = threading.Thread(target=self._look_at_times, name="fuse2-disk", daemon=True)
                self._thread.start()

    def remove(self, search: str) -> None:
        """Look for a search no longer."""
        with self._lock:
            self._searches.pop(search, None)

    def look(self, *_: Any) -> None:
        """Give back what is needed."""
        self._give_back(lambda reserve: reserve.is_needed)

    def give_back_all(self) -> None:
        """Give back everything: storing has failed, be it for a quota, which the free space does not show."""
        self._give_back(lambda _: True)

    def _give_back(self, is_wanted: Callable[[Reserve], bool]) -> None:
        with self._lock:
            held = {search: entry for search, entry in self._searches.items() if entry is not None}
            needed = {search: entry for search, entry in held.items() if is_wanted(entry[0])}
            self._searches.update(dict.fromkeys(needed))
        for reserve, tell in needed.values():
            reserve.give_back()
            tell()

    def _look_before(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("SELECT"):
            self.look()

    def _look_at_times(self) -> None:
        pause = threading.Event()
        while True:
            with self._lock:
                if not self._searches:
                    self._thread = None
                    return
            self._look_once()
            pause.wait(LOOK)

    def _look_once(self) -> None:
        """Look at the disk, and keep a broker that has met a full one from deleting files."""
        self.look()
        if self._sockets_file is not None and is_empty(self._sockets_file):
            self._sockets_file.unlink(missing_ok=True)


WATCH = Watch()
"""That of this process."""


def make_way() -> None:
    """Make room after a failure for a full disk, and let this process of the system store again.

    Searches of other ones give back what they have set aside meanwhile.
    """
    WATCH.give_back_all()
    time.sleep(2 * LOOK)
    roll_back()


def roll_back() -> None:
    """End a transaction in which storing has failed; until then, everything that follows fails, too."""
    session = get_manager().get_profile_storage().get_session()
    if not session.is_active:
        session.rollback()


class StoresItsEnd(Process):
    """A process that can store that it has failed, where it was for a full disk, too."""

    def transition_failed(
        self, initial_state: Any, final_state: Any, exception: Exception, trace: TracebackType
    ) -> None:
        """Take what follows a failure, with room for it."""
        if is_disk_full(exception):
            make_way()
        super().transition_failed(initial_state, final_state, exception, trace)
