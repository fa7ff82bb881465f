"""Processes that do not outlive the job that started them, however it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from types import FrameType

PR_SET_PDEATHSIG = 1
"""Option of ``prctl(2)``: the signal that this process gets when the thread that started it ends."""


def die_with(parent: int) -> None:
    """Let this process be killed when its parent ends, or at once if the parent has ended already.

    Linux does this; on other systems a ``Guardian`` does it.

    Args:
        parent: PID of the process that started this one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def lead_group(pid: int = 0) -> None:
    """Give a process (by default this one) a group of its own, so that it is killed with everything that it starts."""
    with contextlib.suppress(OSError):  # it has one, or has ended
        os.setpgid(pid, pid)


def kill_group(pid: int) -> None:
    """Kill a process that leads a group, and the others in it."""
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


class Guardian:
    """A process that kills the groups of other processes when the process that started it is gone.

    It waits for the end of a pipe whose other end only that process holds; the kernel closes it with the process.
    """

    def __init__(self, context: BaseContext) -> None:
        reader, self.line = context.Pipe(duplex=False)
        self._process = context.Process(target=_guard, args=(reader, self.line), daemon=True)  # type: ignore[attr-defined]
        self._process.start()
        reader.close()

    def watch(self, group: int) -> None:
        """Kill a group when this process is gone."""
        self.line.send(group)

    def forget(self, group: int) -> None:
        """Stop watching a group, because it is gone."""
        self.line.send(-group)

    def close(self) -> None:
        """End the guardian; it kills what it still watches."""
        self.line.close()
        self._process.join()


def _guard(reader: Connection, line: Connection) -> None:
    line.close()
    os.setsid()  # a signal to the group of the job must not end it too early
    groups: set[int] = set()
    with _ended_in_order(), contextlib.suppress(EOFError, OSError):
        while True:
            told = reader.recv()
            groups = groups | {told} if told > 0 else groups - {-told}
    for group in groups:
        kill_group(group)


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Treat a request to end, which all processes of a job may get, as the end of the job."""

    def end(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - Python calls it with these arguments
        raise EOFError

    with contextlib.suppress(EOFError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, end)
        yield
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
