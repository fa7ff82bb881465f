"""Inputs and outputs of GULP (Gale, Rohl, Mol. Simul. 2003, 29, 291, DOI 10.1080/0892702031000104887).

Written from its help file and from outputs of versions 4.0.3 to 6.1.2; the how-to on GULP says what could
not be checked without the program.
"""

from __future__ import annotations

from .inputs import write_input
from .outputs import GulpOutput, Outcome, read_output
from .settings import GulpSettings, StageSettings

__all__ = ["GulpOutput", "GulpSettings", "Outcome", "StageSettings", "read_output", "write_input"]
