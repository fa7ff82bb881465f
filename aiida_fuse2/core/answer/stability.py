"""Whether a structure is unstable against small displacements, at the centre and the boundary of the Brillouin zone.

Force constants are finite differences of forces in the 2x2x2 supercell of the primitive cell, which holds all wave
vectors with components 0 or ½. Forces between atoms that are farther apart than the supercell allows are folded in; at
these wave vectors, the result is exact nevertheless.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.evaluation import Evaluator

STEP = 0.02
"""Displacement of an atom, Å: noise of forces in single precision makes less than 0.1 THz of it."""

TO_THZ = 15.633302
"""THz of the square root of 1 eV/Å²/amu."""

LEAST_THZ = 0.5
"""Smallest imaginary frequency that counts as an instability, THz; below it are noise and the acoustic modes."""

CORNERS = tuple(product((0, 1), repeat=3))
"""Cells of the supercell, and twice the wave vectors."""


@dataclass(frozen=True)
class Stability:
    """The softest modes of a structure.

    Attributes:
        lowest: lowest frequency at any of the wave vectors, THz; an imaginary one is negative.
        unstable: lowest frequency of each wave vector that has an imaginary one, by the wave vector as text.
    """

    lowest: float
    unstable: dict[str, float]

    @property
    def is_stable(self) -> bool:
        """Whether no mode is imaginary."""
        return not self.unstable

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"lowest": self.lowest, "unstable": dict(self.unstable)}


def examine(atoms: Atoms, evaluator: Evaluator, max_atoms: int) -> Stability | None:
    """Return the stability of a structure; None if its supercell is too large, or the potential fails in it.

    It costs six evaluations of the supercell for each atom.

    Args:
        atoms: relaxed primitive cell; not changed.
        evaluator: from ``make_evaluator``.
        max_atoms: largest number of atoms in the supercell.
    """
    if len(CORNERS) * len(atoms) > max_atoms:
        return None
    try:
        constants = force_constants(atoms, evaluator)
    except RelaxationError:
        return None
    lowest: dict[str, float] = {}
    for wave in CORNERS:
        name = _name(wave)
        lowest[name] = min(lowest.get(name, np.inf), float(frequencies(constants, atoms.get_masses(), wave)[0]))
    unstable = {name: value for name, value in lowest.items() if value < -LEAST_THZ}
    return Stability(min(lowest.values()), unstable)


def force_constants(atoms: Atoms, evaluator: Evaluator) -> NDArray[np.float64]:
    """Return the force constants between a cell and the cells of its 2x2x2 supercell, eV/Å², shape (8, 3n, 3n).

    Args:
        atoms: cell of n atoms.
        evaluator: the potential.

    Raises:
        RelaxationError: what the evaluator raises.
    """
    supercell, n = atoms.repeat((2, 2, 2)), len(atoms)
    constants = np.zeros((len(CORNERS), 3 * n, 3 * n))
    for row in range(3 * n):
        forces = []
        for sign in (1, -1):
            positions = supercell.positions.copy()
            positions[row // 3, row % 3] += sign * STEP
            forces.append(evaluator.evaluate(supercell.numbers, positions, supercell.cell.array).forces)
        constants[:, row] = (forces[1] - forces[0]).reshape(len(CORNERS), 3 * n) / (2 * STEP)
    return constants


def frequencies(
    constants: NDArray[np.float64], masses: NDArray[np.float64], wave: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return the frequencies at a wave vector, rising; imaginary ones are negative, THz, shape (3n,).

    Args:
        constants: from ``force_constants``.
        masses: amu, shape (n,).
        wave: twice the wave vector in units of the reciprocal lattice, each 0 or 1.
    """
    signs = np.array([(-1) ** int(np.dot(wave, cell)) for cell in CORNERS])
    weights = 1 / np.sqrt(np.repeat(masses, 3))
    matrix = np.einsum("c,cij->ij", signs, constants) * np.outer(weights, weights)
    squares = np.linalg.eigvalsh(0.5 * (matrix + matrix.T))
    found: NDArray[np.float64] = np.sign(squares) * np.sqrt(np.abs(squares)) * TO_THZ
    return found


def _name(wave: tuple[int, ...]) -> str:
    return "Γ" if not any(wave) else f"({', '.join('½' if component else '0' for component in wave)})"
