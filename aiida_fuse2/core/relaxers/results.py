"""The results of a job for a structure, checked against its trial and against the geometry of the structure.

Jobs run on other machines, with other versions and with any calculator, so all their results are checked. A result
that contradicts itself is a failure with a name, ``bad_result``, like any other failure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.symmetry import space_group
from aiida_fuse2.core.crystal.uniqueness import (
    decode_fingerprint,
    encode_fingerprint,
    fingerprint_distance,
    fingerprint_of_pairs,
    near_pairs,
)
from aiida_fuse2.core.crystal.validity import has_sound_cell, shortest_of_pairs
from aiida_fuse2.core.errors import RelaxationError, printable, shown_value

from .batch import HALVINGS
from .driver import DESCRIBED, MAX_DETAIL
from .energies import check_energy
from .failures import CONVERGED, KNOWN, Failure

TEXTS = frozenset({"status", "detail", "potential", "spacegroup_symbol", "spacegroup_symbol_loose", "outcome"})
"""Values of a result that are texts."""

COUNTS = frozenset(
    {"n_atoms", "spacegroup", "spacegroup_loose", "steps", "evaluations", HALVINGS, "prerelax_evaluations"}
)
"""Values that are whole numbers, not negative; the last is in results of earlier versions only."""

NOT_NEGATIVE = frozenset({"volume", "fmax", "gnorm", "cpu_seconds"})
"""Values that are numbers, not negative."""

NUMBERS = NOT_NEGATIVE | {"energy", "potential_energy"}
"""Values that are numbers."""

FINGERPRINT = "fingerprint"

REQUIRED = ("potential", "cpu_seconds", "evaluations", "potential_energy", *DESCRIBED, FINGERPRINT)
"""Values that every relaxed structure has."""

OF_RELAXED = frozenset({"potential_energy", *DESCRIBED})
"""Values that a failure does not have."""

NULLABLE = frozenset({FINGERPRINT, "gnorm"})
"""Values that may be ``null``."""

LARGEST_NUMBER = 1e12
"""Largest size of any value: far beyond every meaningful value, and small enough to add."""

CLOSE = 1e-6
"""Relative difference that the eight decimals in a file of geometries can cause."""

CLOSE_FINGERPRINT = 0.01
"""Distance from the fingerprint of the geometry: those of other crystals are further, and a shell of neighbours on the
edge of what a fingerprint sees makes a third of it."""

SYMPREC_FACTORS = (0.9, 1.1)
"""Times the tolerance of a space group: where it lies on the edge, versions of spglib may disagree."""

_STATUS = re.compile(r"[a-z][a-z0-9_]{0,63}")


class RelaxationRules(Protocol):
    """The settings of a relaxation that its results are checked against; see ``RelaxSettings``."""

    @property
    def pressure(self) -> float:
        """External pressure, GPa."""

    @property
    def min_contact(self) -> float:
        """Smallest distance as a fraction of covalent radii."""

    @property
    def report_symprec(self) -> tuple[float, float]:
        """Tolerances of the space groups, Å."""


def judged_result(
    rows: Sequence[Mapping[str, Any]], frames: Sequence[Atoms], start: Atoms, rules: RelaxationRules, source: str
) -> tuple[dict[str, Any], Atoms]:
    """Return the result of a trial and its last geometry; a failure if they contradict each other.

    Args:
        rows: results of the job for the trial; there must be one.
        frames: geometries under its label; there must be one.
        start: the trial's own geometry.
        rules: settings of the relaxation.
        source: calculator or tier; see ``energies.lowest_energy``.
    """
    atoms = start
    if len(frames) == 1 and same_atoms(frames[0], start):
        atoms = Atoms(numbers=frames[0].numbers, positions=frames[0].positions, cell=frames[0].cell, pbc=True)
    try:
        if len(rows) != 1 or len(frames) > 1:
            raise _bad(f"its label occurs {len(rows)} times among results and {len(frames)} times among geometries")
        row = checked_values(rows[0])
        if row["status"] == CONVERGED:
            if not frames:
                raise _bad("there is no geometry that can be read")
            if atoms is start:
                raise _bad(f"the geometry is one of {_formula(frames[0])}, the trial one of {_formula(start)}")
            check_described(row, atoms, rules, source)
    except RelaxationError as error:
        return bad_result(error, rows), atoms
    return row, atoms


def bad_result(error: RelaxationError, rows: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return the row of a result that cannot be used; usable CPU seconds are kept, since they were spent.

    Args:
        error: the reason.
        rows: results of the job.
    """
    detail = error.detail if error.reason == Failure.BAD_RESULT else str(error)
    kept = {"status": str(Failure.BAD_RESULT), "detail": printable(detail, MAX_DETAIL), FINGERPRINT: None}
    spent = [row.get("cpu_seconds", 0) for row in rows]
    return {**kept, "cpu_seconds": sum(seconds for seconds in spent if _is_number(seconds) and seconds >= 0)}


def same_atoms(atoms: Atoms, start: Atoms) -> bool:
    """Return whether two structures have the same number of atoms of each element."""
    return len(atoms) == len(start) and bool((np.sort(atoms.numbers) == np.sort(start.numbers)).all())


def checked_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of results in a form that can be stored.

    Args:
        row: plain values of one structure, as JSON gives them.

    Raises:
        RelaxationError: ``bad_result`` if a value is missing, unknown, or of the wrong kind.
    """
    clean = {key: _checked_value(key, value) for key, value in row.items()}
    status = clean.get("status", "")
    if not _STATUS.fullmatch(status) or status == KNOWN:
        raise _bad(f"status {shown_value(status)} does not exist")
    if status == CONVERGED:
        missing = [key for key in REQUIRED if clean.get(key) is None]
        if missing:
            raise _bad(f"has no {', '.join(missing)}")
    else:
        clean = {key: value for key, value in clean.items() if key not in OF_RELAXED} | {FINGERPRINT: None}
    return {**clean, "detail": clean.get("detail", "")}


def _checked_value(key: str, value: Any) -> Any:
    if value is None and key in NULLABLE:
        return value
    if key in TEXTS or key == FINGERPRINT:
        if not isinstance(value, str):
            raise _bad(f"{key} = {shown_value(value)} is not a text")
        return value if key == FINGERPRINT else printable(value, MAX_DETAIL)
    if key not in COUNTS | NUMBERS:
        raise _bad(f"{shown_value(key)} is not known")
    is_right = _is_number(value) and (value >= 0 or key not in COUNTS | NOT_NEGATIVE)
    if not is_right or (key in COUNTS and not isinstance(value, int)):
        raise _bad(f"{key} = {shown_value(value)} is not a {'count' if key in COUNTS else 'valid number'}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER


def check_described(row: Mapping[str, Any], atoms: Atoms, rules: RelaxationRules, source: str) -> None:
    """Compare the values of a relaxed structure with its geometry.

    Args:
        row: see ``checked_values``.
        atoms: the geometry.
        rules: settings of the relaxation.
        source: calculator or tier.

    Raises:
        RelaxationError: for the first contradiction: ``bad_result``, or the reason why no such structure is relaxed.
    """
    if not has_sound_cell(atoms):
        raise _bad("the geometry is not finite, or its cell is not that of a crystal")
    pairs = near_pairs(atoms)
    contact = shortest_of_pairs(atoms, *pairs)
    if contact < rules.min_contact * (1 - CLOSE):
        raise _bad(f"the shortest distance of the geometry is {contact:.2f} of the covalent radii")
    check_energy(row["potential_energy"], atoms.numbers, source)
    volume = float(atoms.get_volume())
    _compare(row, "n_atoms", len(atoms))
    _compare(row, "volume", volume)
    _compare(row, "energy", row["potential_energy"] + rules.pressure * units.GPa * volume / len(atoms))
    if not _is_fingerprint(row[FINGERPRINT], fingerprint_of_pairs(atoms, pairs)):
        raise _bad("the fingerprint is not that of the geometry")
    _check_groups(row, atoms, rules.report_symprec)


def _is_fingerprint(text: str, own: NDArray[np.float64]) -> bool:
    try:
        told = decode_fingerprint(text)
    except ValueError:
        return False
    is_one = told.shape == own.shape and encode_fingerprint(told) == text  # decoding skips other characters
    return is_one and bool(fingerprint_distance(told, own) <= CLOSE_FINGERPRINT)


def _compare(row: Mapping[str, Any], key: str, expected: float) -> None:
    if not math.isclose(row[key], expected, rel_tol=CLOSE, abs_tol=CLOSE):
        raise _bad(f"{key} = {row[key]:.9g}, of the geometry {expected:.9g}")


def _check_groups(row: Mapping[str, Any], atoms: Atoms, symprecs: tuple[float, float]) -> None:
    """Compare the space groups; the tight one is not computed if even the loose one is not found."""
    tight, loose = ((row[f"spacegroup{end}"], row[f"spacegroup_symbol{end}"]) for end in ("", "_loose"))
    _check_group(*loose, atoms, symprecs[1])
    if (tight, loose) != ((1, "P1"), (1, "P1")):
        _check_group(*tight, atoms, symprecs[0])


def _check_group(number: int, symbol: str, atoms: Atoms, symprec: float) -> None:
    found = space_group(atoms, symprec)
    others = (factor * symprec for factor in SYMPREC_FACTORS)
    if found != (number, symbol) and (number, symbol) not in (space_group(atoms, other) for other in others):
        raise _bad(f"space group {symbol} ({number}), of the geometry {found[1]} ({found[0]})")


def _formula(atoms: Atoms) -> str:
    return str(atoms.get_chemical_formula())


def _bad(detail: str) -> RelaxationError:
    return RelaxationError(Failure.BAD_RESULT, detail)
