"""Writes inputs of GULP: keywords, one structure in P1, the library, options (GULP's help file, by topic)."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from .settings import GulpSettings, StageSettings

OPTIONS = {"maxcyc": "maxcyc", "stepmax": "stepmx", "gmax": "gmax", "gtol": "gtol", "ftol": "ftol", "xtol": "xtol"}
"""Name of each limit in GULP."""


def write_input(atoms: Atoms, settings: GulpSettings, stage: StageSettings, *, name: str, library: str) -> str:
    """Return the input of one stage for one structure.

    Args:
        atoms: the structure; its vectors are written as they are, so that the output has the same orientation.
        settings: settings of the job.
        stage: the stage of the job.
        name: one word that the output shows.
        library: name of the library file in the folder of the input.
    """
    keywords = [*stage.keywords, *([] if settings.electrostatics else ["noelectro"])]
    lines = [" ".join(keywords), f"name {name}", "vectors"]
    lines += [" ".join(f"{value:.10f}" for value in row) for row in atoms.cell.array]
    lines.append("fractional")
    scaled = np.round(atoms.get_scaled_positions(wrap=True), 10) % 1.0
    lines += [
        f"{symbol:<2} core {x:.10f} {y:.10f} {z:.10f}"
        for symbol, (x, y, z) in zip(atoms.get_chemical_symbols(), scaled, strict=True)
    ]
    lines.append(f"library {library}")
    for field, option in OPTIONS.items():
        value = getattr(stage, field)
        if value is not None:
            lines.append(f"{option} opt {value}" if isinstance(value, int) else f"{option} opt {value:.8f}")
    if settings.cutp is not None:
        lines.append(f"cutp {settings.cutp:.6f}")
    if settings.pressure:
        lines.append(f"pressure {settings.pressure:.6f} GPa")
    if settings.time_limit is not None:
        lines.append(f"time {settings.time_limit:.1f} seconds")
    return "\n".join(lines) + "\n"
