"""The memory of a quasi-Newton relaxation about the curvature: L-BFGS over displacements and strain.

Liu and Nocedal, Math. Program. 1989, 45, 503, DOI 10.1007/BF01589116; the two loops are algorithm 7.4 of
Nocedal and Wright, Numerical Optimization, 2nd ed. 2006, DOI 10.1007/978-0-387-40065-5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

N_STRAIN_ROWS = 3
"""Rows of the strain at the end of a vector of the joint space: displacements (n, 3), then strain (3, 3)."""

LEAST_COSINE = 1e-6
"""Smallest cosine between a step and the change of the gradient: below it the curvature is not positive."""


class CurvatureMemory:
    """The last steps and changes of the gradient, and the inverse Hessian that follows from them.

    Args:
        n_atoms: number of atoms n; vectors of the joint space have the shape (n + 3, 3).
        size: number of steps that are remembered.
        initial_curvature: curvature of the Hessian before the first step, eV/Å².
    """

    def __init__(self, n_atoms: int, size: int, initial_curvature: float) -> None:
        self._size = size
        self._initial_curvature = initial_curvature
        self._empty = np.empty((0, n_atoms + N_STRAIN_ROWS, 3))
        self.clear()

    def __len__(self) -> int:
        """Return the number of remembered steps."""
        return len(self._curvatures)

    def clear(self) -> None:
        """Forget every step."""
        self._steps = self._empty
        self._changes = self._empty
        self._curvatures: list[float] = []

    def newton_step(self, gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return minus the inverse Hessian times a gradient (eV/Å), Å, shape (n + 3, 3)."""
        vector = gradient.copy()
        weights = np.zeros(len(self))
        for k in reversed(range(len(self))):
            weights[k] = np.vdot(self._steps[k], vector) / self._curvatures[k]
            vector -= weights[k] * self._changes[k]
        vector /= self._initial_curvature
        for k in range(len(self)):
            weight = np.vdot(self._changes[k], vector) / self._curvatures[k]
            vector += (weights[k] - weight) * self._steps[k]
        return -vector

    def add(self, step: NDArray[np.float64], change: NDArray[np.float64]) -> None:
        """Remember a step; if the curvature along it is not positive, forget every step instead.

        The Hessian must stay positive, and a Hessian that expects a valley instead of a ridge makes tiny steps.

        Args:
            step: Å, shape (n + 3, 3).
            change: change of the gradient along the step, eV/Å, shape (n + 3, 3).
        """
        curvature = float(np.vdot(step, change))
        if curvature <= LEAST_COSINE * float(np.linalg.norm(step) * np.linalg.norm(change)):
            self.clear()
            return
        self._steps = np.concatenate([self._steps, step[None]])[-self._size :]
        self._changes = np.concatenate([self._changes, change[None]])[-self._size :]
        self._curvatures = [*self._curvatures, curvature][-self._size :]
