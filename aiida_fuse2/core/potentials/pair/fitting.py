"""Pair potentials fitted to frames of another potential: B-splines by linear least squares.

The energy of a pair of elements is a cubic B-spline on uniform knots that ends at the cutoff with energy, slope and
curvature zero. Energies, forces and stresses are linear in its coefficients, so that one least-squares problem gives
them (the idea of ultra-fast potentials: Xie, Rupp, Hennig, npj Comput. Mater. 2023, 9, 162, DOI
10.1038/s41524-023-01092-7). Below the shortest distance of the frames, the curve continues as a straight line with a
cubic wall. The result is a table, for our engine and for GULP's ``spline cubic``; its points include all knots, so
that interpolating it gives the fitted curve.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from ase.data import atomic_numbers
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from aiida_fuse2.core.potentials.evaluation import Evaluation

from .forms import Spline
from .library import Pair, PairLibrary, PairTerm, ordered_pair

DEGREE = 3

TABLE_STEP = 0.05
"""Distance between the points of a table, Å; knots lie on them."""

TABLE_START = 0.2
"""First distance of a table, Å."""

SMOOTHING = 1e-3
"""Weight of the third differences of neighbouring coefficients: decides where there are no data."""

DAMPING = 1e-4
"""Weight of the coefficients themselves."""

WALL = 200.0
"""Energy of the wall at 1 Å below the shortest distance of the frames, eV."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A geometry and the values of another potential for it.

    Attributes:
        numbers: atomic numbers, shape (n,).
        positions: Å, shape (n, 3).
        cell: Å, shape (3, 3).
        target: energy, forces and stress.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    target: Evaluation


@dataclass(frozen=True, kw_only=True)
class FitWeights:
    """Weights of the residuals of each kind.

    Attributes:
        energy: per eV/atom.
        force: per eV/Å.
        stress: per eV/atom of stress times volume.
        large_force: largest force at which residuals of a frame count half, eV/Å.
    """

    energy: float
    force: float
    stress: float
    large_force: float


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted library.

    Attributes:
        library: one table for each pair.
        offset: energy per atom that is not in the library, eV: that of the free atoms, which no distance changes.
        shortest: shortest distance of each pair in the frames, Å; the wall begins there.
    """

    library: PairLibrary
    offset: float
    shortest: dict[Pair, float]


class _Basis:
    """The B-splines of every pair of elements up to a cutoff."""

    def __init__(self, elements: Sequence[str], cutoff: float, knot_distance: float) -> None:
        self.pairs: list[Pair] = [ordered_pair(*pair) for pair in combinations_with_replacement(sorted(elements), 2)]
        self.cutoff = cutoff
        intervals = round(cutoff / knot_distance)
        step = cutoff / intervals
        knots = step * np.arange(-DEGREE, intervals + DEGREE + 1)
        count = len(knots) - DEGREE - 1
        # without the last three, every curve ends with energy, slope and curvature zero
        self.size = count - DEGREE
        self._energies = BSpline(knots, np.eye(count)[:, : self.size], DEGREE)
        self._slopes = self._energies.derivative()

    def curve(self, coefficients: NDArray[np.float64]) -> BSpline:
        """Return the curve of the coefficients of a pair, shape (size,)."""
        return BSpline(self._energies.t, np.pad(coefficients, (0, DEGREE)), DEGREE)

    def rows(self, frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the dependence of energy, forces and stress of a frame on the coefficients.

        Returns:
            Energy per atom, shape (m,); forces, shape (3 n, m); stress times volume per atom, shape (6, m), where
            m is the number of coefficients of all pairs.
        """
        i, j, lengths, vectors = neighbour_list(
            "ijdD", positions=frame.positions, cell=frame.cell, cutoff=self.cutoff, pbc=[True] * 3
        )
        n_atoms = len(frame.numbers)
        n_all = len(self.pairs) * self.size
        energy, force, stress = np.zeros(n_all), np.zeros((3 * n_atoms, n_all)), np.zeros((6, n_all))
        for index, (first, second) in enumerate(self.pairs):
            a, b = atomic_numbers[first], atomic_numbers[second]
            one, two = frame.numbers[i], frame.numbers[j]
            acts = ((one == a) & (two == b)) | ((one == b) & (two == a))
            if not acts.any():
                continue
            values, slopes = self._energies(lengths[acts]), self._slopes(lengths[acts])
            columns = slice(index * self.size, (index + 1) * self.size)
            directions = vectors[acts] / lengths[acts, None]
            energy[columns] = 0.5 * values.sum(axis=0) / n_atoms
            for axis in range(3):
                pulls = slopes * directions[:, axis, None]
                force[axis::3, columns] = _summed_by_atom(i[acts], pulls, n_atoms)
            for row, (p, q) in enumerate(_VOIGT):
                stress[row, columns] = 0.5 * (directions[:, p] * vectors[acts, q]) @ slopes / n_atoms
        return energy, force, stress


def _summed_by_atom(atoms: NDArray[np.int64], rows: NDArray[np.float64], n_atoms: int) -> NDArray[np.float64]:
    """Return the sum of the rows of each atom, shape (n_atoms, columns); atoms ascend, as in a neighbour list."""
    found = np.zeros((n_atoms, rows.shape[1]))
    present, starts = np.unique(atoms, return_index=True)
    found[present] = np.add.reduceat(rows, starts, axis=0)
    return found


_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Components of the stress that are fitted."""


def shortest_distances(frame: Frame, pairs: Sequence[Pair], cutoff: float) -> dict[Pair, float]:
    """Return the shortest distance of each pair in a frame, Å; the cutoff where there is none."""
    i, j, lengths = neighbour_list("ijd", positions=frame.positions, cell=frame.cell, cutoff=cutoff, pbc=[True] * 3)
    found = dict.fromkeys(pairs, cutoff)
    for pair in pairs:
        a, b = (atomic_numbers[element] for element in pair)
        acts = (frame.numbers[i] == a) & (frame.numbers[j] == b)
        if acts.any():
            found[pair] = float(lengths[acts].min())
    return found


class PairFitter:
    """Collects frames, and fits a table for each pair of elements to them on request.

    Args:
        elements: elements of the frames, all of one composition: the energy of the free atoms is one number.
        cutoff: cutoff of the potentials, Å; a multiple of ``TABLE_STEP``.
        knot_distance: distance between knots of the B-splines, Å; rounded so that the cutoff is a multiple of it.
        weights: weights of the residuals.
    """

    def __init__(self, elements: Sequence[str], *, cutoff: float, knot_distance: float, weights: FitWeights) -> None:
        self.n_frames = 0
        self._basis = _Basis(elements, cutoff, knot_distance)
        self._weights = weights
        n_columns = len(self._basis.pairs) * self._basis.size + 1
        self._normal, self._right = np.zeros((n_columns, n_columns)), np.zeros(n_columns)
        self._shortest = dict.fromkeys(self._basis.pairs, cutoff)

    def add(self, frames: Iterable[Frame]) -> None:
        """Add frames to the fit."""
        for frame in frames:
            matrix, target = _weighted_rows(self._basis, frame, self._weights)
            self._normal += matrix.T @ matrix
            self._right += matrix.T @ target
            self.n_frames += 1
            for pair, distance in shortest_distances(frame, self._basis.pairs, self._basis.cutoff).items():
                self._shortest[pair] = min(self._shortest[pair], distance)

    def fit(self) -> Fit:
        """Return the fit to all frames so far."""
        basis = self._basis
        normal = self._normal + self.n_frames * _regularisation(basis, len(self._right))
        solution = np.asarray(np.linalg.solve(normal, self._right), dtype=np.float64)
        coefficients = solution[:-1].reshape(len(basis.pairs), basis.size)
        terms = tuple(
            PairTerm(pair, _table(basis, own, self._shortest[pair]), 0.0, basis.cutoff)
            for pair, own in zip(basis.pairs, coefficients, strict=True)
        )
        return Fit(PairLibrary(terms), float(solution[-1]), dict(self._shortest))


def _weighted_rows(basis: _Basis, frame: Frame, weights: FitWeights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted rows of a frame, with the energy of the free atoms as last column, and their targets."""
    n_atoms = len(frame.numbers)
    energy, force, stress = basis.rows(frame)
    target = frame.target
    volume = abs(float(np.linalg.det(frame.cell)))
    largest = float(np.linalg.norm(target.forces, axis=1).max())
    damping = 1 / (1 + largest / weights.large_force)
    virials = np.array([target.stress[p, q] for p, q in _VOIGT]) * volume / n_atoms
    scales = np.concatenate(
        [[weights.energy], np.full(3 * n_atoms, weights.force / np.sqrt(3 * n_atoms)), np.full(6, weights.stress)]
    )
    rows = np.vstack([energy, force, stress])
    constant = np.zeros(len(rows))
    constant[0] = 1.0
    targets = np.concatenate([[target.energy / n_atoms], target.forces.ravel(), virials])
    scales = damping * scales
    return np.column_stack([rows, constant]) * scales[:, None], targets * scales


def _regularisation(basis: _Basis, n_columns: int) -> NDArray[np.float64]:
    """Return the matrix that keeps coefficients without data smooth and small, shape (m + 1, m + 1)."""
    differences = np.diff(np.eye(basis.size + DEGREE), n=3, axis=0)[:, : basis.size]
    one = SMOOTHING**2 * differences.T @ differences + DAMPING**2 * np.eye(basis.size)
    found = np.zeros((n_columns, n_columns))
    for index in range(len(basis.pairs)):
        own = slice(index * basis.size, (index + 1) * basis.size)
        found[own, own] = one
    return found


def _table(basis: _Basis, coefficients: NDArray[np.float64], shortest: float) -> Spline:
    """Return the table of a pair: the fitted curve, and the wall below the shortest distance."""
    curve = basis.curve(coefficients)
    points = np.round(np.arange(round(TABLE_START / TABLE_STEP), round(basis.cutoff / TABLE_STEP) + 1) * TABLE_STEP, 10)
    start = min(shortest, basis.cutoff - TABLE_STEP)
    slope = min(float(curve(start, 1)), 0.0)
    depth = np.clip(start - points, 0, None)
    energies = np.where(points >= start, curve(points), float(curve(start)) - slope * depth + WALL * depth**3)
    energies[-1] = 0.0
    return Spline(tuple(float(p) for p in points), tuple(float(e) for e in energies))
