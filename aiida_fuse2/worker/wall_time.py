"""The wall time that a job may take: not every scheduler ends a job that has used it up."""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiida_fuse2.core.errors import Fuse2Error

MARGIN = 0.1
"""Fraction of the wall time, at its end, that is reserved for writing results."""

MOST_MARGIN = 60.0
"""Largest time reserved for that, s."""

_LIMITS: list[tuple[float, float]] = []
"""Begin of this job, and the time at which it has to stop working, s of ``time.monotonic``; empty without a limit."""


class OutOfTimeError(Fuse2Error):
    """A job ends before its work is done, because its wall time is used up."""


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Set the limit for the following work; end this process with a message if it exceeds the limit.

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
    """Return how long the job may compute, s; None without a limit."""
    return _LIMITS[-1][1] - _LIMITS[-1][0] if _LIMITS else None


def time_left() -> float | None:
    """Return the remaining time, s; None without a limit."""
    return _LIMITS[-1][1] - time.monotonic() if _LIMITS else None
