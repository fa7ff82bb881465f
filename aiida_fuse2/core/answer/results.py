"""The results of a finishing job, which are checked before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from ase import Atoms

from aiida_fuse2.core.crystal.validity import has_sound_cell
from aiida_fuse2.core.errors import RelaxationError, printable, shown_value
from aiida_fuse2.core.relaxers.driver import MAX_DETAIL
from aiida_fuse2.core.relaxers.energies import check_energy
from aiida_fuse2.core.relaxers.failures import CONVERGED, Failure

from .ladder import MEASURED, Ladder, Rung
from .stability import Stability

MAX_MOMENT = 20.0
"""Largest magnetic moment of an atom, Bohr magnetons: free atoms have up to 10."""


def read_ladder(row: Mapping[str, Any], frames: Sequence[Atoms], start: Atoms, source: str) -> Ladder:
    """Return a ladder from the values and the geometries that a job has written.

    Space groups are those of the geometries, whatever the job says.

    Args:
        row: plain values of the structure.
        frames: geometries of its rungs, in their order.
        start: the structure that the job was given.
        source: calculator; see ``energies.lowest_energy``.

    Raises:
        RelaxationError: ``bad_result`` if something is missing, or of the wrong kind.
    """
    try:
        values = [{name: _number(rung[name]) for name in MEASURED} for rung in row["rungs"]]
        moments = [_moments(rung.get("moments")) for rung in row["rungs"]]
        costs = {name: _number(row[name]) for name in ("fmax", "cpu_seconds")}
        stability = None if row["stability"] is None else _stability(row["stability"])
        texts = {name: row[name] for name in ("status", "detail", "potential")}
        if not all(isinstance(text, str) for text in texts.values()):
            raise _bad(f"status = {shown_value(texts)} is no text")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _bad(f"a value is missing or of the wrong kind: {error!r}") from error
    is_there = texts["status"] == CONVERGED
    if len(frames) != len(values) or is_there != bool(values):
        raise _bad(f"{len(values)} rungs and {len(frames)} geometries of a structure that is {texts['status']}")
    for rung, of_atoms, frame in zip(values, moments, frames, strict=True):
        _check(rung, frame, start, source)
        if of_atoms is not None and (len(of_atoms) != len(frame) or any(not 0 <= m <= MAX_MOMENT for m in of_atoms)):
            raise _bad("its magnetic moments are not those of its atoms")
    rungs = tuple(
        Rung.of(
            Atoms(numbers=frame.numbers, positions=frame.positions, cell=frame.cell, pbc=True),
            tolerance=rung["tolerance"],
            energy=rung["energy"],
            displacement=rung["displacement"],
            evaluations=int(rung["evaluations"]),
            moments=of_atoms,
        )
        for rung, of_atoms, frame in zip(values, moments, frames, strict=True)
    )
    return Ladder(
        status=printable(texts["status"], MAX_DETAIL),
        detail=printable(texts["detail"], MAX_DETAIL),
        rungs=rungs,
        fmax=costs["fmax"],
        potential=printable(texts["potential"], MAX_DETAIL),
        cpu_seconds=costs["cpu_seconds"],
        stability=stability,
    )


def bad_ladder(error: RelaxationError) -> dict[str, Any]:
    """Return the row of a structure whose results cannot be used.

    Args:
        error: the reason.
    """
    detail = printable(error.detail, MAX_DETAIL)
    costs = {"fmax": 0.0, "cpu_seconds": 0.0, "potential": "", "stability": None}
    return {"status": str(Failure.BAD_RESULT), "detail": detail, **costs, "rungs": []}


def _check(rung: Mapping[str, float], frame: Atoms, start: Atoms, source: str) -> None:
    if not has_sound_cell(frame) or len(frame) > len(start):
        raise _bad("a geometry is not that of a crystal, or is larger than the structure")
    given, own = (atoms.symbols.formula.reduce()[0].count() for atoms in (start, frame))
    if given != own:
        raise _bad(f"a geometry is one of {own}, the structure one of {given}")
    if rung["displacement"] < 0 or rung["tolerance"] < 0 or rung["evaluations"] < 0:
        raise _bad("a value is negative")
    check_energy(rung["energy"], frame.numbers, source)


def _stability(values: Mapping[str, Any]) -> Stability:
    unstable = {printable(str(wave), MAX_DETAIL): _number(value) for wave, value in values["unstable"].items()}
    return Stability(lowest=_number(values["lowest"]), unstable=unstable)


def _moments(values: Any) -> tuple[float, ...] | None:
    """Return magnetic moments; results of earlier versions have none."""
    return None if values is None else tuple(_number(value) for value in values)


def _number(value: Any) -> float:
    """Return a number.

    Raises:
        ValueError: if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{shown_value(value)} is not a number")
    return float(value)


def _bad(detail: str) -> RelaxationError:
    return RelaxationError(Failure.BAD_RESULT, detail)
