"""X-ray diffraction: patterns simulated from structures, and read from files of measured points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.symmetry import SymmetryError, primitive_cell
from aiida_fuse2.core.errors import InputError, printable

if TYPE_CHECKING:
    from pymatgen.core import Structure

WAVELENGTH = "CuKa"
"""Name of the radiation in pymatgen; 1.5418 Å."""

SHORTEST, LONGEST = 0.1, 5.0
"""Wavelengths that diffractometers have, Å."""

TWO_THETA = (10.0, 90.0)
"""Simulated range of two theta, degrees."""

STEP = 0.05
"""Distance of two points of a simulated pattern, degrees."""

WIDTH = 0.2
"""Full width at half maximum of a simulated line, degrees."""

FWHM = float(2 * np.sqrt(2 * np.log(2)))
"""Full width at half maximum of a Gaussian over its standard deviation."""

MAX_POINTS = 8000
"""Largest number of points of a measured pattern that is kept whole; of a longer one every k-th is kept."""

REPEATED = 0.01
"""Distance within which atoms are translational copies, Å; a superstructure farther off has reflections of its own."""

COMMENTS = ("#", "!", ";", "'")
"""Beginnings of lines that hold no point."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pattern:
    """A diffraction pattern.

    Attributes:
        name: name in the legend.
        two_theta: shape (n,), degrees.
        intensity: shape (n,), the highest is 100.
        peaks: two theta (degrees), intensity and indices of the reflections; empty for a measured pattern.
    """

    name: str
    two_theta: NDArray[np.float64]
    intensity: NDArray[np.float64]
    peaks: tuple[tuple[float, float, str], ...] = ()


def simulate(atoms: Atoms, name: str, *, symprec: float, wavelength: float | str = WAVELENGTH) -> Pattern:
    """Return the powder pattern of a structure (pymatgen), each line blurred to a width of 0.2°.

    Indices of reflections are those of the conventional cell.

    Args:
        atoms: the structure.
        name: name in the legend.
        symprec: tolerance of its symmetry, Å.
        wavelength: Å, or the name of a radiation in pymatgen.
    """
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    calculator = XRDCalculator(wavelength=wavelength)
    found = calculator.get_pattern(_conventional(atoms, symprec), two_theta_range=TWO_THETA)
    grid = np.arange(TWO_THETA[0], TWO_THETA[1] + STEP / 2, STEP)
    sigma = WIDTH / FWHM
    lines = np.exp(-0.5 * ((grid[:, None] - np.asarray(found.x)) / sigma) ** 2)
    peaks = tuple(
        (float(x), float(y), " ".join(str(h) for h in hkls[0]["hkl"]) if hkls else "")
        for x, y, hkls in zip(found.x, found.y, found.hkls, strict=True)
    )
    return Pattern(name=name, two_theta=grid, intensity=_scaled(lines @ np.asarray(found.y)), peaks=peaks)


def reflections(
    atoms: Atoms, two_theta: tuple[float, float], wavelength: float | str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two theta (degrees) and intensity of the reflections of a structure, by pymatgen; shape (n,) each.

    Args:
        atoms: the structure; its primitive cell is taken.
        two_theta: range, degrees.
        wavelength: Å, or the name of a radiation in pymatgen.
    """
    from pymatgen.analysis.diffraction.xrd import XRDCalculator
    from pymatgen.io.ase import AseAtomsAdaptor

    try:
        primitive = primitive_cell(atoms, REPEATED)
    except SymmetryError:
        primitive = atoms
    structure = AseAtomsAdaptor.get_structure(primitive)
    found = XRDCalculator(wavelength=wavelength).get_pattern(structure, scaled=False, two_theta_range=two_theta)
    return np.asarray(found.x, dtype=float), np.asarray(found.y, dtype=float)


def _conventional(atoms: Atoms, symprec: float) -> Structure:
    """Return the conventional cell with symmetrised atoms, or the structure itself if no symmetry is found."""
    from pymatgen.io.ase import AseAtomsAdaptor
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

    structure = AseAtomsAdaptor.get_structure(atoms)
    try:
        return SpacegroupAnalyzer(structure, symprec=symprec).get_conventional_standard_structure()
    except (SymmetryUndeterminedError, ValueError, TypeError):
        return structure


def parse_wavelength(text: str) -> float | str:
    """Return a wavelength in Å, or the name of a radiation in pymatgen.

    Raises:
        InputError: if it is neither.
    """
    from pymatgen.analysis.diffraction.xrd import WAVELENGTHS

    if text in WAVELENGTHS:
        return text
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not SHORTEST <= value <= LONGEST:
        expected = f"must be between {SHORTEST:g} and {LONGEST:g} Å, or one of {', '.join(WAVELENGTHS)}"
        raise InputError("wavelength", printable(text), expected)
    return value


def read_pattern(path: Path, option: str = "xrd") -> Pattern:
    """Return a measured pattern: a text file with two theta (degrees) and intensity in its first two columns.

    Columns are separated by blanks, tabs, commas or semicolons; lines that hold no numbers are omitted.

    Args:
        path: the file.
        option: name of the option that names it, for messages.

    Raises:
        InputError: if the file cannot be read or holds no pattern.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:  # a name that no file can have is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise InputError(option, printable(path), f"it cannot be read: {reason}") from error
    points = [point for line in text.splitlines() if (point := _point(line)) is not None]
    if len(points) < 2:
        raise InputError(option, printable(path), "lines with two theta (degrees) and intensity are needed")
    values = np.array(sorted(points))
    if values[0, 0] < 0 or values[-1, 0] > 180:
        raise InputError(option, printable(path), "two theta must lie between 0 and 180 degrees")
    values = values[:: -(-len(values) // MAX_POINTS)]
    return Pattern(name=path.name, two_theta=values[:, 0], intensity=_scaled(values[:, 1]))


def _point(line: str) -> tuple[float, float] | None:
    if line.strip().startswith(COMMENTS):
        return None
    parts = line.replace(",", " ").replace(";", " ").split()
    try:
        x, y = float(parts[0]), float(parts[1])
    except (ValueError, IndexError):
        return None
    return (x, y) if np.isfinite(x) and np.isfinite(y) else None


def _scaled(intensity: NDArray[np.float64]) -> NDArray[np.float64]:
    highest = float(intensity.max(initial=0.0))
    return intensity * (100 / highest) if highest > 0 else intensity
