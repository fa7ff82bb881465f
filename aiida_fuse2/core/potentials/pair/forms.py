"""The functions of distance that a library may hold; energies in eV, distances in Å.

Each is defined for every distance above zero; its range belongs to the term that uses it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.interpolate import PPoly

Distances = NDArray[np.float64]
Values = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Energies (eV) and their derivatives by the distance (eV/Å), each of the shape of the distances."""


class Form(ABC):
    """A function of the distance of two atoms."""

    name: str
    """Name of the form in GULP."""

    @abstractmethod
    def values(self, distances: Distances) -> Values:
        """Return energies and derivatives at distances above zero, Å."""

    @abstractmethod
    def parameters(self) -> tuple[float, ...]:
        """Return the parameters in the order of GULP's columns."""


@dataclass(frozen=True)
class Buckingham(Form):
    """``A exp(-r/rho) - C/r**6``; A in eV, rho in Å, C in eV Å⁶."""

    a: float
    rho: float
    c: float
    name = "buckingham"

    def values(self, distances: Distances) -> Values:
        """Return energies and derivatives."""
        repulsion = self.a * np.exp(-distances / self.rho)
        attraction = self.c / distances**6
        return repulsion - attraction, -repulsion / self.rho + 6 * attraction / distances

    def parameters(self) -> tuple[float, ...]:
        """Return A, rho, C."""
        return self.a, self.rho, self.c


@dataclass(frozen=True)
class LennardJones(Form):
    """``A/r**m - B/r**n``; A in eV Åᵐ, B in eV Åⁿ."""

    a: float
    b: float
    m: int
    n: int
    name = "lennard"

    def values(self, distances: Distances) -> Values:
        """Return energies and derivatives."""
        repulsion, attraction = self.a / distances**self.m, self.b / distances**self.n
        return repulsion - attraction, (self.n * attraction - self.m * repulsion) / distances

    def parameters(self) -> tuple[float, ...]:
        """Return A, B; the exponents stand beside the name of the form."""
        return self.a, self.b


@dataclass(frozen=True)
class Morse(Form):
    """``De ((1 - exp(-a (r - r0)))**2 - 1)``; De in eV, a in 1/Å, r0 in Å."""

    de: float
    a: float
    r0: float
    name = "morse"

    def values(self, distances: Distances) -> Values:
        """Return energies and derivatives."""
        decay = np.exp(-self.a * (distances - self.r0))
        return self.de * ((1 - decay) ** 2 - 1), 2 * self.de * self.a * decay * (1 - decay)

    def parameters(self) -> tuple[float, ...]:
        """Return De, a, r0."""
        return self.de, self.a, self.r0


@dataclass(frozen=True)
class General(Form):
    """``A exp(-r/rho)/r**m - C/r**n``; without the exponential if rho is 0; A in eV Åᵐ, C in eV Åⁿ."""

    a: float
    rho: float
    c: float
    m: int
    n: int
    name = "general"

    def values(self, distances: Distances) -> Values:
        """Return energies and derivatives."""
        decay = np.exp(-distances / self.rho) if self.rho else np.ones_like(distances)
        rate = 1 / self.rho if self.rho else 0.0
        repulsion, attraction = self.a * decay / distances**self.m, self.c / distances**self.n
        slope = -repulsion * (rate + self.m / distances) + self.n * attraction / distances
        return repulsion - attraction, slope

    def parameters(self) -> tuple[float, ...]:
        """Return A, rho, C; the exponents stand beside the name of the form."""
        return self.a, self.rho, self.c


@dataclass(frozen=True)
class Spline(Form):
    """A table of energies, interpolated by a natural cubic spline and extended by straight lines.

    Attributes:
        distances: ascending, Å.
        energies: eV.
        cubic: whether the table asks for a cubic spline. GULP's default is an interpolation by rational functions
            that its help file does not define; between the points it may differ from ours.
    """

    distances: tuple[float, ...]
    energies: tuple[float, ...]
    cubic: bool = True
    name = "spline"

    @cached_property
    def _curve(self) -> tuple[PPoly, PPoly]:
        """The spline and its derivative, with a straight piece at either end."""
        from scipy.interpolate import CubicSpline, PPoly  # slow to import, and few jobs have splines

        x, y = np.array(self.distances), np.array(self.energies)
        inner = CubicSpline(x, y, bc_type="natural")
        first, last = inner(x[[0, -1]], 1)
        step = x[-1] - x[0]
        lines = [[0, 0, first, y[0] - first * step], [0, 0, last, y[-1]]]
        pieces = np.hstack([np.array(lines[:1]).T, inner.c, np.array(lines[1:]).T])
        curve = PPoly(pieces, np.hstack([x[0] - step, x, x[-1] + step]), extrapolate=True)
        return curve, curve.derivative()

    def values(self, distances: Distances) -> Values:
        """Return energies and derivatives."""
        curve, slope = self._curve
        return curve(distances), slope(distances)

    def parameters(self) -> tuple[float, ...]:
        """Return nothing: the table stands below the header."""
        return ()


@dataclass(frozen=True)
class Shifted(Form):
    """Another form, shifted so that its energy is zero at the cutoff (GULP's ``energy``)."""

    form: Form
    cutoff: float

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name of the shifted form."""
        return self.form.name

    def values(self, distances: Distances) -> Values:
        """Return energies and derivatives."""
        energies, slopes = self.form.values(distances)
        return energies - self.form.values(np.array([self.cutoff]))[0][0], slopes

    def parameters(self) -> tuple[float, ...]:
        """Return the parameters of the shifted form."""
        return self.form.parameters()
