"""How well a structure explains a measured powder pattern: one number for its profile, one for the places of peaks.

The cell of a potential is not that of an experiment, a sample is not exactly in the centre of a diffractometer, and
plates and needles lie down. So the lattice is scaled as a whole, two theta is shifted, and square roots of intensities
are compared, by their weighted cross-correlation (R. de Gelder, R. Wehrens, J. A. Hageman, J. Comput. Chem. 2001, 22,
273, DOI 10.1002/1096-987X(200102)22:3<273::AID-JCC1001>3.0.CO;2-0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import fftconvolve, find_peaks

from aiida_fuse2.core.errors import InputError, printable
from aiida_fuse2.protocols import pattern_values

from .patterns import FWHM, Pattern, reflections

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PatternSettings:
    """Numbers of the comparison; values and reasons are in ``protocols/patterns.yaml``, angles in degrees two theta."""

    step: float
    width: float
    triangle: float
    smoothing: float
    background: float
    max_scale: float
    scale_step: float
    max_shift: float
    tolerance: float
    min_peak: float
    min_line: float
    noise: float
    bare: float
    range: tuple[float, float]
    compared: int


@dataclass(frozen=True, kw_only=True)
class PatternMatch:
    """How well a structure explains a measured pattern.

    Attributes:
        similarity: of the profiles, 0 to 1.
        explained: number of measured peaks that have a line of the structure within the tolerance.
        observed: number of measured peaks.
        missing: number of strong lines of the structure without a measured peak.
        scale: factor of its lattice parameters that fits best.
        shift: of two theta that fits best, degrees; measured minus simulated.
    """

    similarity: float
    explained: int
    observed: int
    missing: int
    scale: float
    shift: float


class MeasuredPattern:
    """A measured pattern, prepared for comparisons."""

    def __init__(self, pattern: Pattern, wavelength: float | str) -> None:
        """Prepare a pattern.

        Args:
            pattern: the measured points.
            wavelength: Å, or the name of a radiation in pymatgen such as ``CuKa``.

        Raises:
            InputError: if too few points are in the range of the comparison, or no peak is above the noise.
        """
        self.settings = settings = PatternSettings(**pattern_values())
        self.name, self.wavelength = pattern.name, wavelength
        inside = (pattern.two_theta >= settings.range[0]) & (pattern.two_theta <= settings.range[1])
        x, y = pattern.two_theta[inside], pattern.intensity[inside]
        if len(x) < 2 or x[-1] - x[0] < 2 * settings.background:
            expected = f"has too few points between {settings.range[0]:g} and {settings.range[1]:g} degrees two theta"
            raise InputError("pattern", printable(pattern.name), expected)
        self.grid: Values = np.arange(x[0], x[-1], settings.step)
        profile, noise = self._signal(x, y)
        least = max(settings.noise * noise, settings.min_peak * float(profile.max()))
        found, _ = find_peaks(profile, height=least, prominence=least)
        if not len(found):
            raise InputError("pattern", printable(pattern.name), "has no peak above its noise")
        self.peaks: Values = self.grid[found]
        self.profile: Values = np.sqrt(np.maximum(profile - settings.noise * noise / 2, 0.0))

    def _signal(self, x: Values, y: Values) -> tuple[Values, float]:
        """Return the smooth profile without its background on the grid, and the standard deviation of its noise."""
        settings = self.settings
        raw = np.interp(self.grid, x, y)
        points = max(settings.smoothing / float(np.median(np.diff(x))), 0.5)
        noise = float(np.median(np.abs(np.diff(y, 2)))) / 0.6745 / np.sqrt(6.0)
        smooth = gaussian_filter1d(raw, settings.smoothing / settings.step, mode="nearest")
        profile = smooth - background(smooth, round(settings.background / settings.step))
        profile -= float(np.quantile(profile, settings.bare))  # the level that was found lies below the noise
        return profile, noise / float(np.sqrt(2 * np.sqrt(np.pi) * points))

    @cached_property
    def _kernel(self) -> Values:
        """The triangle of de Gelder and others, of which pairs of points farther apart than its width are no part."""
        width = self.settings.triangle
        ends = np.arange(-width, width + self.settings.step / 2, self.settings.step)
        return np.maximum(1 - np.abs(ends) / width, 0.0)

    @cached_property
    def _weighted(self) -> Values:
        return np.asarray(fftconvolve(self.profile, self._kernel, mode="same"))

    def match(self, atoms: Atoms) -> PatternMatch:
        """Return how well a structure explains the pattern."""
        settings, grid = self.settings, self.grid
        margin = 2 * settings.background
        wide = np.arange(max(grid[0] - margin, settings.step), min(grid[-1] + margin, 179.0), settings.step)
        places, heights = reflections(atoms, (wide[0], wide[-1]), self.wavelength)
        if not len(places):
            return self._summary(0.0, places, heights, 1.0, 0.0)
        profile = _profile(wide, places, heights, settings)
        number = round(settings.max_scale / settings.scale_step)
        scales = 1 + np.arange(-number, number + 1) * settings.scale_step
        tried = [(*self._correlation(wide, profile, float(scale)), float(scale)) for scale in scales]
        similarity, shift, scale = max(tried)
        return self._summary(similarity, _scaled_places(places, scale) + shift, heights, scale, shift)

    def _correlation(self, wide: Values, profile: Values, scale: float) -> tuple[float, float]:
        """Return the largest similarity over all shifts with a scale of the lattice, and its shift, degrees."""
        settings = self.settings
        longest = round(settings.max_shift / settings.step)
        points = np.arange(-longest, len(self.grid) + longest)
        simulated = _at_scale(wide, profile, self.grid[0] + settings.step * points, scale)
        middle = simulated[longest : longest + len(self.grid)]
        own = float(self.profile @ self._weighted)
        other = float(middle @ fftconvolve(middle, self._kernel, mode="same"))
        if other <= 0:
            return 0.0, 0.0
        both = np.correlate(simulated, self._weighted, mode="valid")
        best = int(np.argmax(both))
        return float(both[best]) / float(np.sqrt(own * other)), (longest - best) * settings.step

    def _summary(self, similarity: float, places: Values, heights: Values, scale: float, shift: float) -> PatternMatch:
        settings = self.settings
        inside = (places >= self.grid[0]) & (places <= self.grid[-1])
        places, heights = places[inside], heights[inside]
        heights = heights / heights.max(initial=np.finfo(float).tiny)
        visible, strong = places[heights >= settings.min_peak], places[heights >= settings.min_line]
        return PatternMatch(
            similarity=round(min(similarity, 1.0), 4),
            explained=int(_near(self.peaks, visible, settings.tolerance).sum()),
            observed=len(self.peaks),
            missing=int((~_near(strong, self.peaks, settings.tolerance)).sum()),
            scale=round(scale, 4),
            shift=round(shift, 3),
        )


def background(values: Values, reach: int) -> Values:
    """Return the background below peaks (SNIP; C. G. Ryan and others, Nucl. Instrum. Methods B 1988, 34, 396).

    Args:
        values: intensities on a regular grid, shape (n,).
        reach: largest half width of a peak, points.
    """
    level = float(values.min())
    found = np.log(np.log(np.sqrt(values - level + 1) + 1) + 1)
    for width in range(reach, 0, -1):
        padded = np.pad(found, width, mode="reflect", reflect_type="odd")
        found = np.minimum(found, (padded[: -2 * width] + padded[2 * width :]) / 2)
    return np.asarray((np.exp(np.exp(found) - 1) - 1) ** 2 - 1 + level)


def _profile(grid: Values, places: Values, heights: Values, settings: PatternSettings) -> Values:
    """Return the square root of the simulated profile, prepared as a measured one is."""
    edges = np.append(grid - settings.step / 2, grid[-1] + settings.step / 2)
    lines, _ = np.histogram(places, bins=edges, weights=heights)
    sigma = float(np.hypot(settings.width / FWHM, settings.smoothing))
    smooth = gaussian_filter1d(lines, sigma / settings.step, mode="constant")
    smooth *= 100 / smooth.max()
    return np.sqrt(np.maximum(smooth - background(smooth, round(settings.background / settings.step)), 0.0))


def _scaled_places(places: Values, scale: float) -> Values:
    """Return the two theta of reflections in a scaled lattice, degrees."""
    return np.degrees(2 * np.arcsin(np.minimum(np.sin(np.radians(places / 2)) / scale, 1.0)))


def _at_scale(wide: Values, profile: Values, grid: Values, scale: float) -> Values:
    """Return the profile of a scaled lattice."""
    return np.interp(_scaled_places(grid, 1 / scale), wide, profile, left=0.0, right=0.0)


def _near(places: Values, others: Values, tolerance: float) -> NDArray[np.bool_]:
    """Return for each place whether one of the others is within the tolerance."""
    if not len(others):
        return np.zeros(len(places), dtype=bool)
    return np.asarray(np.abs(places[:, None] - others[None, :]).min(axis=1) <= tolerance)


def by_similarity(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with the most similar ones first; those without a match are the last, in the order they had.

    Args:
        rows: rows of structures; ``pattern`` has the values of a ``PatternMatch``, or None.
    """
    return sorted(map(dict, rows), key=lambda row: -row["pattern"]["similarity"] if row.get("pattern") else 1.0)


def best_match_text(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return in words which of some structures explains a pattern best.

    Args:
        name: of the pattern.
        rows: as for ``by_similarity``, with ``rank``.
    """
    best = next(iter(by_similarity(rows)), None)
    if best is None or not best.get("pattern"):
        return f"{name}: no structure to compare with"
    match = best["pattern"]
    return (
        f"{name}: structure {best['rank']} fits best, similarity {match['similarity']:.2f}; "
        f"{match['explained']} of {match['observed']} peaks explained, {match['missing']} strong lines not seen; "
        f"lattice times {match['scale']:.3f}, zero shifted by {match['shift']:.2f}°"
    )
