"""Reads outputs of GULP, versions 4 to 6: how a run ended, its energy, its last geometry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

MAX_ERROR = 300
"""Longest text kept of an error that GULP reports, characters."""


class Outcome(StrEnum):
    """How a run of GULP ended."""

    ACHIEVED = "achieved"
    """The tolerances were reached, or there was nothing to optimise."""
    SINGLE = "single"
    """A single point."""
    NO_MINIMUM = "no_minimum"
    """No point of lower energy was found, or too many attempts failed."""
    STEP_LIMIT = "step_limit"
    TIME_LIMIT = "time_limit"
    INPUT_ERROR = "gulp_error"
    """GULP refused its input, or stopped with an error of its own."""
    OVERFLOW = "overflow"
    """A number did not fit into its column: stars."""
    NOT_FINITE = "energy_not_finite"
    TRUNCATED = "output_truncated"
    """The output ends before the run did."""


MESSAGES = (
    ("Optimisation achieved", Outcome.ACHIEVED),
    ("No variables to optimise", Outcome.ACHIEVED),
    ("Conditions for a minimum have not been satisfied", Outcome.NO_MINIMUM),
    ("Too many failed attempts to optimise", Outcome.NO_MINIMUM),
    ("Maximum number of function calls has been reached", Outcome.STEP_LIMIT),
    ("CPU limit has been exceeded", Outcome.TIME_LIMIT),
)
"""What GULP prints at the end of an optimisation."""

_VERSION = re.compile(r"\* Version = (\S+)")
_ENERGY = re.compile(r"(Final|Total lattice)\s+(energy|enthalpy)\s*=\s*(\S+)\s*eV")
_GNORM = re.compile(r"Final Gnorm\s*=\s*(\S+)")
_CYCLE = re.compile(r"Cycle:\s*(\S+)\s+Energy:\s*(\S+)\s+Gnorm:\s*(\S+)")
_ATOMS = re.compile(r"Total number atoms/shells\s*=\s*(\d+)")
_CPU = re.compile(r"Total CPU time\s+(\S+)")
_ROW = re.compile(r"\s*\d+\s+([A-Z][a-z]?)\d*\s+b?c\s+(\S+)\s+(\S+)\s+(\S+)")
_STARS = re.compile(r"\*+")


class UnfitNumberError(ValueError):
    """A number of the output cannot be used; the error holds the corresponding outcome."""

    def __init__(self, outcome: Outcome, text: str) -> None:
        self.outcome = outcome
        super().__init__(f"{text!r} where a number should be")


@dataclass(frozen=True, eq=False)
class GulpOutput:
    """The content of an output.

    Attributes:
        outcome: how the run ended.
        detail: text for people, or empty.
        version: version of GULP, or empty.
        energy: energy of the primitive cell, eV, or enthalpy if there is a pressure; or None.
        is_enthalpy: whether the energy is an enthalpy.
        gnorm: norm of the gradient at the end, or None.
        n_atoms: number of atoms in the cell, or None.
        symbols: symbols of the atoms of the last geometry.
        fractional: coordinates of the last geometry, shape (n, 3), or None. A structure with symmetry is printed as
            its asymmetric unit, which is not a geometry.
        cell: last lattice vectors as rows, Å, shape (3, 3), or None.
        cycles: number of cycles of the optimiser.
        cpu_seconds: CPU time reported by GULP, or None.
    """

    outcome: Outcome
    detail: str = ""
    version: str = ""
    energy: float | None = None
    is_enthalpy: bool = False
    gnorm: float | None = None
    n_atoms: int | None = None
    symbols: tuple[str, ...] = ()
    fractional: NDArray[np.float64] | None = None
    cell: NDArray[np.float64] | None = None
    cycles: int = 0
    cpu_seconds: float | None = None


def _number(text: str) -> float:
    """Return a number of the output.

    Raises:
        UnfitNumberError: if it is stars, not finite, or no number.
    """
    if _STARS.search(text):
        raise UnfitNumberError(Outcome.OVERFLOW, text)
    try:
        value = float(text.lower().replace("d", "e"))
    except ValueError:
        raise UnfitNumberError(Outcome.TRUNCATED, text) from None
    if not np.isfinite(value):
        raise UnfitNumberError(Outcome.NOT_FINITE, text)
    return value


def _is_optimisation(text: str) -> bool:
    """Return whether the run was an optimisation; the banner lists the keywords."""
    return re.search(r"^\*\s+optimise\b", text, re.MULTILINE) is not None or "Start of bulk optimisation" in text


def read_output(text: str) -> GulpOutput:
    """Return the content of an output; never fails, whatever the text."""
    found = _VERSION.search(text)
    version = found[1] if found else ""
    cpu_seconds = next((_plain(match[1]) for match in reversed(list(_CPU.finditer(text)))), None)
    if "!! ERROR" in text:
        detail = text[text.index("!! ERROR") :].split("\n", 1)[0].removeprefix("!! ERROR").strip(" :")
        return GulpOutput(Outcome.INPUT_ERROR, detail[:MAX_ERROR], version, cpu_seconds=cpu_seconds)
    try:
        return _read_finished(text, version, cpu_seconds)
    except UnfitNumberError as error:
        return GulpOutput(error.outcome, str(error), version, cycles=_cycles(text), cpu_seconds=cpu_seconds)


def _read_finished(text: str, version: str, cpu_seconds: float | None) -> GulpOutput:
    """Return the content of an output without an error.

    Raises:
        UnfitNumberError: if a number that is needed cannot be used.
    """
    lower = text.lower()
    places = [(lower.rfind(words.lower()), words, outcome) for words, outcome in MESSAGES]
    messages = [found for found in places if found[0] >= 0]
    energies = list(_ENERGY.finditer(text))
    energies = [match for match in energies if match[1] == "Final"] or energies  # a single point has no final one
    atoms = _ATOMS.search(text)
    optimises = _is_optimisation(text)
    is_finished = "Job Finished at" in text
    if messages:
        _, words, outcome = max(messages)
    elif not optimises and energies and is_finished:
        words, outcome = "", Outcome.SINGLE
    else:
        words, outcome = "the output ends before the run did", Outcome.TRUNCATED
    # a run over its time may be cut off after its message; all others end normally
    if outcome is not Outcome.TIME_LIMIT and not is_finished:
        words, outcome = "the output ends before the run did", Outcome.TRUNCATED
    energy = None if not energies else _number(energies[-1][3])
    symbols, fractional = _coordinates(text, final=optimises)
    gnorm = next(reversed(list(_GNORM.finditer(text))), None)
    cycles = list(_CYCLE.finditer(text))
    return GulpOutput(
        outcome,
        "" if outcome in {Outcome.ACHIEVED, Outcome.SINGLE} else words,
        version,
        energy,
        bool(energies) and energies[-1][2] == "enthalpy",
        _number(gnorm[1]) if gnorm else _number(cycles[-1][3]) if cycles else None,
        int(atoms[1]) if atoms else None,
        symbols,
        fractional,
        _cell(text),
        _cycles(text),
        cpu_seconds,
    )


def _plain(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _cycles(text: str) -> int:
    """Return the number of the last cycle of the optimiser."""
    numbers = [match[1] for match in _CYCLE.finditer(text) if match[1].isdigit()]
    return int(numbers[-1]) if numbers else 0


def _lines_after(text: str, heading: str) -> Iterator[str]:
    """Yield the lines below the last occurrence of a heading; none if there is none."""
    place = text.rfind(heading)
    if place >= 0:
        yield from text[place:].split("\n")[1:]


def _coordinates(text: str, *, final: bool) -> tuple[tuple[str, ...], NDArray[np.float64] | None]:
    """Return symbols and fractional coordinates of the last table of all atoms.

    Raises:
        UnfitNumberError: if a coordinate cannot be used.
    """
    heading = "Final fractional coordinates of atoms" if final else "Fractional coordinates of asymmetric unit"
    symbols: list[str] = []
    rows: list[Sequence[float]] = []
    rules = 0
    for line in _lines_after(text, heading):
        if line.startswith("-----"):
            rules += 1
            if rules == 3:
                break
        elif rules == 2 and line.strip():
            found = _ROW.match(line.replace(" * ", "   "))
            if found is None:
                raise UnfitNumberError(Outcome.OVERFLOW if "***" in line else Outcome.TRUNCATED, line.strip())
            symbols.append(found[1])
            rows.append([_number(value) for value in found.groups()[1:]])
    if rules < 3 or not rows:
        return (), None
    return tuple(symbols), np.array(rows)


def _cell(text: str) -> NDArray[np.float64] | None:
    """Return the last lattice vectors: the final ones, or those of the start if the cell did not move.

    Raises:
        UnfitNumberError: if a component cannot be used.
    """
    heading = "Final Cartesian lattice vectors (Angstroms) :"
    if heading not in text:
        heading = "Cartesian lattice vectors (Angstroms) :"
    rows: list[list[float]] = []
    for line in _lines_after(text, heading):
        words = line.split()
        if len(words) == 3:
            rows.append([_number(word) for word in words])
        elif "*" in line:
            raise UnfitNumberError(Outcome.OVERFLOW, line.strip())
        elif words or len(rows) == 3:
            break
        if len(rows) == 3:
            return np.array(rows)
    return None
