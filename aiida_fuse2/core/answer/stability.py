"""Whether a structure is unstable against small displacements, at the centre and the boundary of the Brillouin zone.

Force constants are finite differences of forces in the 2x2x2 supercell of the primitive cell, by phonopy (A. Togo,
*J. Phys. Soc. Jpn.* 92, 012001, 2023). The supercell holds all wave vectors with components 0 or ½. Forces between
atoms that are farther apart than it allows are folded in; at these wave vectors, the result is exact nevertheless.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.potentials.evaluation import Evaluator

STEP = 0.02
"""Displacement of an atom, Å: CHGNet's forces ripple within 0.01 Å of positions with straight bonds."""

LEAST_THZ = 0.5
"""Smallest imaginary frequency that counts as an instability, THz; below it is noise."""

SYMPREC = 1e-3
"""Tolerance of the symmetry that spares displacements, Å; answers have been symmetrised."""

WAVES = {
    "Γ" if not any(wave) else f"({', '.join('½' if component else '0' for component in wave)})": wave
    for wave in product((0, 0.5), repeat=3)
}
"""Wave vectors that the supercell holds, in units of the reciprocal lattice, by their names."""


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
    """Return the stability of a structure; None if its supercell is too large, or potential or phonopy fail in it.

    It costs at most six evaluations of the supercell for each atom of the cell, and fewer the more symmetric it is.

    Args:
        atoms: relaxed primitive cell; not changed.
        evaluator: from ``make_evaluator``.
        max_atoms: largest number of atoms in the supercell.

    Raises:
        MemoryError: if memory is lacking.
    """
    if len(WAVES) * len(atoms) > max_atoms:
        return None
    try:
        with _errors_of_spglib_as_they_were():
            found = frequencies(atoms, evaluator)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - phonopy has no error of its own
        return None
    lowest = {name: float(values[0]) for name, values in found.items()}
    unstable = {name: value for name, value in lowest.items() if value < -LEAST_THZ}
    return Stability(min(lowest.values()), unstable)


@contextmanager
def _errors_of_spglib_as_they_were() -> Iterator[None]:
    """Undo what importing phonopy does: since then spglib raises errors, in all packages, where it returned None."""
    module = sys.modules.get("spglib.error")
    before = getattr(module, "OLD_ERROR_HANDLING", None)
    try:
        yield
    finally:
        if module is not None and before is not None:
            module.OLD_ERROR_HANDLING = before  # type: ignore[attr-defined]


def frequencies(atoms: Atoms, evaluator: Evaluator) -> dict[str, NDArray[np.float64]]:
    """Return the frequencies at each wave vector of ``WAVES``, rising; imaginary ones are negative, THz, shape (3n,).

    Args:
        atoms: relaxed primitive cell of n atoms; not changed.
        evaluator: from ``make_evaluator``.

    Raises:
        RelaxationError: what the evaluator raises.
    """
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(
        numbers=atoms.numbers, masses=atoms.get_masses(), cell=atoms.cell.array, positions=atoms.positions
    )
    phonons = Phonopy(cell, np.diag([2, 2, 2]), primitive_matrix="P", symprec=SYMPREC)
    phonons.generate_displacements(distance=STEP, is_diagonal=False)
    supercells = phonons.supercells_with_displacements or ()
    phonons.forces = [evaluator.evaluate(each.numbers, each.positions, each.cell).forces for each in supercells]
    phonons.produce_force_constants(show_drift=False)
    phonons.symmetrize_force_constants(show_drift=False)  # else displacements of the whole crystal cost energy
    return dict(zip(WAVES, phonons.run_qpoints(list(WAVES.values())).frequencies, strict=True))
