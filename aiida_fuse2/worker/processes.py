"""Pieces of work side by side, each in its own process, which it may kill or block without harm to the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from aiida_fuse2.core.errors import Fuse2Error, InputError, one_line, shown_value
from aiida_fuse2.core.relaxers.failures import Failure

from .cores import cores_of_job
from .family import Guardian, die_with, kill_group, lead_group
from .wall_time import OutOfTimeError, time_left, whole_time

Work = TypeVar("Work")
Result = TypeVar("Result")

LOOK = 1.0
"""Time after which silent processes are checked, s."""

GRACE = 2.0
"""How long a process without work may take to end, s."""

MOST_DEATHS = 3
"""Number of processes that may die on a piece before it is lost; all but the first run alone."""

AGAIN = 0.5
"""Fraction of the job's time after which an unfinished piece is started a second time, beside the first."""

EARLY = 0.25
"""Fraction of the job's time after which it is too late for that."""

MAX_DETAIL = 300
"""Longest text kept of an error, characters."""

READY, PART, DONE, FAILED, REFUSED, DEAD = "ready", "part", "done", "failed", "refused", "dead"
"""Messages of a process, and its states."""


SIGNALS = {number.value: number.name for number in signal.Signals}
"""Names of signals."""


class WorkerError(Fuse2Error):
    """Processes end before they have received any work."""


@dataclass(frozen=True)
class Lost:
    """The outcome of a piece of work that gave no result.

    Attributes:
        reason: ``process_died``, ``wall_time`` or ``calculator_error``.
        detail: text for people.
    """

    reason: str
    detail: str


@dataclass(frozen=True)
class Part:
    """What a function has yielded for a piece of work that is not finished yet."""

    content: Any


def cpu_seconds() -> float:
    """Return the CPU time of this process and of those that it started and that have ended, s."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def run_all(
    function: Callable[[Work], Result],
    work: Sequence[Work],
    processes: int | None,
    *,
    prepare: Callable[[Work], object] | None = None,
) -> Iterator[tuple[Work, Result | Lost]]:
    """Yield each piece of work with its result as soon as it is finished.

    No piece runs in this process, and the result of a piece does not depend on the others. A piece whose process ends
    is run again when all others are done, alone and in a new process: another piece may have been the cause. If three
    processes have ended in this way, the piece is lost. If the wall time of the job is limited and a piece has taken
    half of it, it is run a second time beside the first; if neither is finished when the time is used up, it is lost.

    Args:
        function: function of a module, so that another process can import it.
        work: pieces, in the order in which they begin.
        processes: number of processes at a time; if None, one per core of the job.
        prepare: called by a process with its first piece before it begins; its failure is not that of a piece.

    Raises:
        InputError: raised by ``prepare`` or ``function``.
        WorkerError: if the processes end while they prepare.
        OutOfTimeError: if the wall time is used up, and pieces are left that had too little time.
    """
    for finished, outcome in _run(function, work, processes, prepare, once=False):
        if not isinstance(outcome, Part):
            yield finished, outcome


def stream_all(
    function: Callable[[Work], Generator[Result, None, None]],
    work: Sequence[Work],
    processes: int,
    *,
    prepare: Callable[[Work], object] | None = None,
) -> Iterator[tuple[Work, Result | Lost]]:
    """Yield each piece of work with everything that the function yields for it, as soon as it does.

    A piece is begun only once: it is lost if its process ends, and where the time is up it can be begun again.

    Args:
        function: as in ``run_all``.
        work: pieces, in the order in which they begin.
        processes: number of processes at a time.
        prepare: as in ``run_all``.

    Raises:
        InputError: raised by ``prepare`` or ``function``.
        WorkerError: if the processes end while they prepare.
        OutOfTimeError: if the wall time is used up.
    """
    for piece, outcome in _run(function, work, processes, prepare, once=True):
        if isinstance(outcome, Part):
            yield piece, outcome.content
        elif isinstance(outcome, Lost):
            yield piece, outcome


def _run(
    function: Callable[[Work], Result],
    work: Sequence[Work],
    processes: int | None,
    prepare: Callable[[Work], object] | None,
    *,
    once: bool,
) -> Iterator[tuple[Work, Result | Lost | Part]]:
    pool = _Pool(function, work, min(processes or cores_of_job(os.environ), len(work)), prepare, once=once)
    try:
        for number, outcome in pool.outcomes():
            yield work[number], outcome
    finally:
        pool.close()


# --- in the other processes -----------------------------------------------------------------------------


def _serve(
    connection: Connection,
    others: Sequence[Connection],
    parent: int,
    function: Callable[[Any], Any],
    prepare: tuple[Callable[[Any], Any], Any] | None,
) -> None:
    """Do received pieces of work, until there are no more."""
    for other in others:  # which were copied with the memory of the parent
        other.close()
    lead_group()
    die_with(parent)
    if prepare is not None and not _answer(connection, READY, *prepare):
        return
    if prepare is None:
        connection.send((READY, None))
    while True:
        try:
            piece = connection.recv()
        except EOFError:
            return
        _answer(connection, DONE, function, piece)


def _answer(connection: Connection, kind: str, function: Callable[[Any], Any], piece: Any) -> bool:
    """Call a function and send what it returned or raised; return whether it returned."""
    try:
        result = function(piece)
        if isinstance(result, Generator):
            for part in result:
                connection.send((PART, part))
            result = None
        connection.send((kind, None if kind == READY else result))  # a value that cannot be pickled is not sent in part
    except InputError as error:
        try:
            connection.send((REFUSED, error))
        except Exception:  # noqa: BLE001 - a value that cannot be pickled
            connection.send((REFUSED, InputError(error.field, shown_value(error.value), error.expected)))
    except BaseException as error:  # noqa: BLE001 - also a request to end the process: the piece made it
        connection.send((FAILED, _text(error)))
    else:
        return True
    return False


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:MAX_DETAIL]
    except Exception:  # noqa: BLE001 - an error that cannot be written
        return type(error).__name__


# --- in this process ------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Child:
    """A process and its current work.

    Attributes:
        process: the process; it leads a group with everything that it starts.
        connection: connection to the process.
        only: number of the piece that it was started for, if it was started for one alone.
        piece: number of the piece that it works on; None before the first.
        begun: time at which it began with this piece, s of ``time.monotonic``.
        is_ready: whether it is prepared.
    """

    process: BaseProcess
    connection: Connection
    only: int | None
    piece: int | None = None
    begun: float = 0.0
    is_ready: bool = False

    def message(self) -> tuple[str, Any] | None:
        """Return its next message, or ``DEAD`` if it has ended; None if there is nothing new."""
        has_ended = self.process.exitcode is not None  # first: its last message may still arrive
        try:
            if self.connection.poll():
                told: tuple[str, Any] = self.connection.recv()
                return told
        except (EOFError, OSError):
            self.process.join(GRACE)
            return DEAD, None
        except Exception as error:  # noqa: BLE001 - a result that cannot be unpickled
            return FAILED, _text(error)
        return (DEAD, None) if has_ended else None

    def end_text(self) -> str:
        """Return a text on how it ended."""
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"its process ended with exit code {code}"
        return f"its process was ended by {SIGNALS.get(-code, f'signal {-code}')}"


class _Pool(Generic[Work, Result]):
    """Processes that work on pieces."""

    def __init__(
        self,
        function: Callable[[Work], Result],
        work: Sequence[Work],
        count: int,
        prepare: Callable[[Work], object] | None,
        *,
        once: bool,
    ) -> None:
        # A copy of this process has imported everything that it needs, and needs no server and no socket.
        self._context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self._function, self._work, self._prepare, self._once = function, work, prepare, once
        self._count, self._most_bad_starts = count, count
        self._bad_starts = 0
        self._waiting = deque(range(len(work)))
        self._alone: deque[int] = deque()
        self._deaths: Counter[int | None] = Counter()
        self._twice: set[int] = set()
        self._left = set(range(len(work)))
        self._children: list[_Child] = []
        self._guardian = Guardian(self._context) if work else None

    def outcomes(self) -> Iterator[tuple[int, Result | Lost | Part]]:
        """Yield the number of each piece with its outcome.

        Raises:
            InputError: raised by a process.
            WorkerError: if processes end while they prepare.
            OutOfTimeError: if the time is up for pieces that had too little time.
        """
        while self._left:
            self._start_children()
            self._wait()
            for child in list(self._children):
                message = child.message() if child in self._children else None
                if message is not None:
                    yield from self._take(child, *message)
            left = time_left()
            if left is not None and left <= 0:
                yield from self._out_of_time()

    def close(self) -> None:
        """End all processes."""
        for child in list(self._children):
            self._retire(child)
        if self._guardian is not None:
            self._guardian.close()

    def _wait(self) -> None:
        """Wait until a process sends a message, has ended, or has to be checked."""
        left = time_left()
        handles = [handle for child in self._children for handle in (child.connection, child.process.sentinel)]
        wait(handles, LOOK if left is None else max(0.0, min(LOOK, left)))

    # --- processes ---

    def _start_children(self) -> None:
        shared = [child for child in self._children if child.only is None]
        for _ in range(min(self._count - len(shared), len(self._waiting) - sum(c.piece is None for c in shared))):
            self._start(None)
        if not self._children and self._alone:
            self._start(self._alone.popleft())
        for child in self._late_children():
            self._twice.add(child)
            self._start(child)

    def _late_children(self) -> list[int]:
        """Return the pieces to start a second time beside the first, because they take long."""
        whole, left = whole_time(), time_left()
        if whole is None or left is None or self._once:
            return []
        used, now = whole - left, time.monotonic()
        return [
            child.piece
            for child in self._children
            if child.piece is not None
            and child.piece not in self._twice
            and now - child.begun >= AGAIN * whole
            and used - (now - child.begun) <= EARLY * whole
        ]

    def _start(self, only: int | None) -> None:
        mine, others = self._context.Pipe()
        ends = [child.connection for child in self._children]
        ends += [mine] if self._guardian is None else [mine, self._guardian.line]
        if self._context.get_start_method() != "fork":
            ends = []
        first = self._work[self._waiting[0] if only is None else only]
        prepare = None if self._prepare is None else (self._prepare, first)
        process = self._context.Process(target=_serve, args=(others, ends, os.getpid(), self._function, prepare))  # type: ignore[attr-defined]
        process.start()
        others.close()
        lead_group(process.pid)  # the process does it too; either may be first
        if self._guardian is not None:
            self._guardian.watch(process.pid)
        self._children.append(_Child(process, mine, only))

    def _retire(self, child: _Child, *, at_once: bool = True) -> None:
        """End a process, and everything that it has started."""
        self._children.remove(child)
        child.connection.close()
        pid = child.process.pid or 0
        if not at_once:
            child.process.join(GRACE)
        kill_group(pid)
        child.process.join()
        if self._guardian is not None:
            self._guardian.forget(pid)

    # --- messages ---

    def _take(self, child: _Child, kind: str, content: Any) -> Iterator[tuple[int, Result | Lost | Part]]:
        """Yield the outcome of a piece, or a part of it, if a process reports one, and give it another piece."""
        if kind == REFUSED:
            raise content
        if child.piece is None and kind in {DEAD, FAILED}:
            self._ended_early(child, content)
            return
        if kind == DEAD:
            child.process.join(GRACE)
            yield from self._died(child)
            return
        if kind == PART and child.piece is not None:
            yield child.piece, Part(content)
            return
        child.is_ready, self._bad_starts = True, 0
        if child.piece in self._left and kind != READY:
            number = child.piece
            yield from self._finish(number, content if kind == DONE else Lost(Failure.CALCULATOR, content))
        if child in self._children:
            self._give_work(child)

    def _give_work(self, child: _Child) -> None:
        number = child.only if child.piece is None else None
        if number is None and child.only is None and self._waiting:
            number = self._waiting.popleft()
        if number is None:
            self._retire(child, at_once=False)
            return
        child.piece, child.begun = number, time.monotonic()
        try:
            child.connection.send(self._work[number])
        except OSError:  # it has just ended, which is noticed next
            return

    def _finish(self, number: int, outcome: Result | Lost) -> Iterator[tuple[int, Result | Lost]]:
        """Yield the outcome of a piece, and end the other processes that work on it."""
        self._left.discard(number)
        with_it = [child for child in self._children if number in {child.piece, child.only}]
        for other in with_it if len(with_it) > 1 else ():
            self._retire(other)
        yield number, outcome

    def _ended_early(self, child: _Child, said: str | None) -> None:
        """Note a process that ended before it had any work: with fewer of them there is more memory.

        Raises:
            WorkerError: if no process is left, and another would not help.
        """
        how = said or child.end_text()
        self._retire(child)
        self._bad_starts += 1
        self._count = max(1, self._count - 1)
        if child.only in self._left and not any(other.piece == child.only for other in self._children):
            self._alone.appendleft(child.only)
        if self._bad_starts > self._most_bad_starts and not any(other.is_ready for other in self._children):
            raise WorkerError(f"a process could not begin to work: {one_line(how)}")

    def _died(self, child: _Child) -> Iterator[tuple[int, Result | Lost]]:
        """Note the end of a process in the middle of its work: the piece is run again, alone, or is lost."""
        self._retire(child)
        number = child.piece
        if number not in self._left or any(number in {other.piece, other.only} for other in self._children):
            return
        self._deaths[number] += 1
        if self._deaths[number] < MOST_DEATHS and not self._once:
            self._alone.append(number)
        else:
            yield from self._finish(number, Lost(Failure.DIED, child.end_text()))

    def _out_of_time(self) -> Iterator[tuple[int, Lost]]:
        """Yield the unfinished pieces that had the whole time.

        Raises:
            OutOfTimeError: if other pieces are left.
        """
        lost = sorted({c.piece for c in self._children if c.piece in self._left & self._twice})
        for child in list(self._children):
            self._retire(child)
        for number in lost:
            self._left.discard(number)
            yield number, Lost(Failure.WALL_TIME, "not finished in the wall time of a whole job")
        if self._left:
            raise OutOfTimeError(f"the wall time of the job is used up, and {len(self._left)} pieces of work are left")
