"""EMT that kills its process: what a crash, a lack of memory or an administrator does to a job."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
from ase.calculators.emt import EMT

FURTHER_THAN_A_STEP = 1.0
"""Å; an atom or a lattice vector that has moved as far belongs to another structure."""


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


class DiesOnce(EMT):
    """Dies at a certain structure, the first time that any job gets there.

    Args:
        marker: file that remembers that it has happened.
        structure: how many structures of the job are relaxed before.
    """

    def __init__(self, marker, structure, **kwargs):
        super().__init__(**kwargs)
        self._marker, self._left, self._last = Path(marker), structure, None

    def calculate(self, atoms=None, *args, **kwargs):
        if atoms is not None:
            now = np.concatenate([atoms.cell.array, atoms.positions])
            last, self._last = self._last, now
            if last is None or last.shape != now.shape or np.abs(now - last).max() > FURTHER_THAN_A_STEP:
                self._left -= 1
        if self._left < 0 and not self._marker.exists():
            self._marker.touch()
            _die()
        super().calculate(atoms, *args, **kwargs)


class DiesOfLargeCells(EMT):
    """Dies whenever a structure has more than ``limit`` atoms."""

    def __init__(self, limit, **kwargs):
        super().__init__(**kwargs)
        self._limit = limit

    def calculate(self, atoms=None, *args, **kwargs):
        if len(atoms) > self._limit:
            _die()
        super().calculate(atoms, *args, **kwargs)


class SlowOnLargeCells(EMT):
    """Takes its time with the first geometry of a structure of more atoms than ``limit``."""

    def __init__(self, limit, delay, **kwargs):
        super().__init__(**kwargs)
        self._limit, self._delay = limit, delay

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        if len(atoms) > self._limit:
            time.sleep(self._delay)
            self._delay = 0.0
        super().calculate(atoms, list(properties), list(system_changes))
