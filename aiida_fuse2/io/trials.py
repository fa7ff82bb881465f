"""Reading and writing structures with their labels as extended XYZ, which every viewer opens."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ase import Atoms

from aiida_fuse2.core.search.trials import Trial, TrialInfo

EMPTY = "-"
"""Replaces an empty text, which the format cannot hold."""


def to_extxyz(structures: Iterable[tuple[Atoms, Mapping[str, Any]]], *, columns: Iterable[str] = ()) -> str:
    """Return structures with plain values as text; positions and cells to 1e-8 Å.

    Args:
        structures: each with its values.
        columns: names of arrays with a number for each atom, which are written where a structure has them.
    """
    from ase.io import write  # slow to import, and queries of the graph need no files

    frames = []
    for atoms, info in structures:
        frame = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
        frame.arrays.update({name: atoms.arrays[name] for name in columns if name in atoms.arrays})
        frame.info = {key: EMPTY if value == "" else value for key, value in info.items()}
        frames.append(frame)
    if not frames:
        return ""
    buffer = io.StringIO()
    write(buffer, frames, format="extxyz")
    return buffer.getvalue()


def from_extxyz(text: str) -> list[Atoms]:
    """Return the structures of a text; their values are in ``Atoms.info``."""
    from ase.io import read

    if not text.strip():
        return []
    frames: list[Atoms] = read(io.StringIO(text), index=":", format="extxyz")
    for frame in frames:
        frame.info = {key: "" if str(value) == EMPTY else value for key, value in frame.info.items()}
    return frames


def trials_to_text(trials: Iterable[Trial]) -> str:
    """Return trials as text, in their order."""
    return to_extxyz((trial.atoms, trial.info.to_dict()) for trial in trials)


def trials_from_text(text: str) -> list[Trial]:
    """Return the trials of ``trials_to_text``."""
    return [Trial(TrialInfo.from_dict(frame.info), frame) for frame in from_extxyz(text)]


def select_trials(trials: Sequence[Trial], labels: Sequence[str] | None) -> list[Trial]:
    """Return the trials of some labels, in the order of the trials; all of them where labels is None."""
    wanted = None if labels is None else set(labels)
    return [trial for trial in trials if wanted is None or trial.info.label in wanted]
