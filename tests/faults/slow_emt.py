"""EMT that takes its time, so that there is something to be killed; its results are those of EMT."""

from __future__ import annotations

import time

from ase.calculators.emt import EMT


class SlowEMT(EMT):
    """Sleeps before each structure (a relaxation begins with a reset)."""

    def __init__(self, delay, **kwargs):
        super().__init__(**kwargs)
        self._delay = delay

    def reset(self):
        time.sleep(self._delay)
        super().reset()
