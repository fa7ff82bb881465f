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


def _end_job():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)  # this process ends with it


class DiesOnce(EMT):
    """Ends its job at a certain structure, the first time that any job gets there.

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
            _end_job()
        super().calculate(atoms, *args, **kwargs)


class EmtWithWeights(EMT):
    """Reads its weights from a file and takes a device, as potentials with a name do."""

    def __init__(self, weights, device, **kwargs):
        assert (Path(weights).read_bytes(), device) == (b"weights", "cpu")
        super().__init__(**kwargs)


class DiesOfLargeCells(EMT):
    """Dies whenever a structure has more than ``limit`` atoms."""

    def __init__(self, limit, **kwargs):
        super().__init__(**kwargs)
        self._limit = limit

    def calculate(self, atoms=None, *args, **kwargs):
        if len(atoms) > self._limit:
            _die()
        super().calculate(atoms, *args, **kwargs)


class EndsJobsOfLargeCells(EMT):
    """Ends its job whenever a structure has more than ``limit`` atoms."""

    def __init__(self, limit, **kwargs):
        super().__init__(**kwargs)
        self._limit = limit

    def calculate(self, atoms=None, *args, **kwargs):
        if len(atoms) > self._limit:
            _end_job()
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


class ShiftedEMT(EMT):
    """Adds to the energy what a file says, eV/atom: a model that its authors have changed."""

    def __init__(self, path, **kwargs):
        super().__init__(**kwargs)
        self._shift = float(Path(path).read_text())

    def calculate(self, atoms=None, *args, **kwargs):
        super().calculate(atoms, *args, **kwargs)
        self.results["energy"] += self._shift * len(atoms)


class NotFinite(EMT):
    """Has no finite energy for structures of more than ``limit`` atoms."""

    def __init__(self, limit, **kwargs):
        super().__init__(**kwargs)
        self._limit = limit

    def calculate(self, atoms=None, *args, **kwargs):
        super().calculate(atoms, *args, **kwargs)
        if len(self.atoms) > self._limit:
            self.results["energy"] = self.results["free_energy"] = float("nan")


class NotesItsProcess(EMT):
    """Leaves a file named after its process, with the cores that the scheduler gave the job."""

    def __init__(self, folder, **kwargs):
        super().__init__(**kwargs)
        (Path(folder) / str(os.getpid())).write_text(os.environ.get("SLURM_CPUS_ON_NODE", ""))
        time.sleep(2)  # so that other processes get structures, too


class HangsOnLargeCells(EMT):
    """Never ends with a structure of more than ``limit`` atoms."""

    def __init__(self, limit, **kwargs):
        super().__init__(**kwargs)
        self._limit = limit

    def calculate(self, atoms=None, *args, **kwargs):
        if len(atoms) > self._limit:
            time.sleep(3600)
        super().calculate(atoms, *args, **kwargs)
