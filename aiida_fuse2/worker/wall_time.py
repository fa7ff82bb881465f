"""The wall time that a job may take: not every scheduler ends a job that has used it up."""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiida_fuse2.core.errors import Fuse2Error

MARGIN = 0.1
"""Part of the wall time before its end in which what there is gets written."""

MOST_MARGIN = 60.0
"""Longest such time, s."""

_LIMITS: list[tuple[float, float]] = []
"""When this job began and when it has to begin to end, s of ``time.monotonic``; empty where it may take for ever."""


class OutOfTimeError(Fuse2Error):
    """A job ends before all is done, since its wall time is used up."""


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Let what follows look at the time, and end this process where it does not, with a word on where it hangs.

    Args:
        seconds: wall time of the job, from now; None for no limit.
    """
    if not seconds:
        yield
        return
    margin, now = min(MARGIN * seconds, MOST_MARGIN), time.monotonic()
    _LIMITS.append((now, now + seconds - margin))
    faulthandler.dump_traceback_later(seconds - margin / 2, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        _LIMITS.pop()


def whole_time() -> float | None:
    """Return how long the job may compute, s; None where it may for ever."""
    return _LIMITS[-1][1] - _LIMITS[-1][0] if _LIMITS else None


def time_left() -> float | None:
    """Return how long it still may, s; None where it may for ever."""
    return _LIMITS[-1][1] - time.monotonic() if _LIMITS else None
