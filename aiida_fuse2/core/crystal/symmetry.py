"""Symmetry and cells: the cell to relax, the cell to slice, and how to leave a saddle point.

Exact forces keep the symmetry of the start, so that a symmetric start can end on a saddle point: a
structure is therefore rattled after it was symmetrised, and one that was relaxed with its symmetry is
relaxed again from rattled copies, also in doubled cells.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import spglib
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.errors import ReasonedError

os.environ.setdefault("SPGLIB_WARNING", "OFF")  # about tolerances; its answer says as much

MAX_MISFIT = 2.0
"""Largest distance between an image of an atom of spglib's idealised cell and an atom, in units of the tolerance."""


class SymmetryError(ReasonedError):
    """spglib found no symmetry for a structure."""


@dataclass(frozen=True)
class Symmetry:
    """The space group of a structure.

    Attributes:
        number: space-group number, 1-230.
        symbol: international symbol.
        n_rotations: number of distinct rotations (order of the point group).
    """

    number: int
    symbol: str
    n_rotations: int


@dataclass(frozen=True, eq=False)
class StandardCell:
    """The conventional cell of a structure, atoms and lattice moved onto their symmetry.

    Attributes:
        atoms: the cell in the standard setting of the group (monoclinic axis b, hexagonal axes, and origin choice 2,
            at a centre of inversion).
        number: space-group number, 1-230.
        hall_symbol: Hall symbol of the setting.
        orbits: indices of the atoms that the operations of the group make equivalent; the first represents them.
        letters: Wyckoff letter of each orbit.
        origins: index, in the structure that the cell was made of, of an atom of each orbit.
    """

    atoms: Atoms
    number: int
    hall_symbol: str
    orbits: tuple[tuple[int, ...], ...]
    letters: tuple[str, ...]
    origins: tuple[int, ...]


def _spglib_cell(atoms: Atoms) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    return atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers


def _from_spglib(cell: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]) -> Atoms:
    lattice, positions, numbers = cell
    return Atoms(numbers=numbers, scaled_positions=positions, cell=lattice, pbc=True)


def find_symmetry(atoms: Atoms, symprec: float) -> Symmetry:
    """Return the space group of a structure.

    Args:
        atoms: the structure; not changed.
        symprec: tolerance of spglib, Å.

    Raises:
        SymmetryError: if spglib finds none (atoms on top of each other, for example).
    """
    dataset = _dataset(atoms, symprec)
    rotations = {tuple(r.ravel()) for r in dataset.rotations}
    return Symmetry(int(dataset.number), str(dataset.international), len(rotations))


def space_group(atoms: Atoms, symprec: float) -> tuple[int, str]:
    """Return number and international symbol of the space group; those of P1 where spglib finds none.

    Args:
        atoms: the structure; not changed.
        symprec: tolerance of spglib, Å.
    """
    try:
        dataset = _dataset(atoms, symprec)
    except SymmetryError:
        return 1, "P1"
    return int(dataset.number), str(dataset.international)


def conventional_size(atoms: Atoms, symprec: float) -> tuple[int, int]:
    """Return the number of the space group, and the number of atoms in the conventional cell.

    Args:
        atoms: the structure; not changed.
        symprec: tolerance of spglib, Å.

    Raises:
        SymmetryError: if spglib finds no space group.
    """
    dataset = _dataset(atoms, symprec)
    return int(dataset.number), len(dataset.std_types)


def _dataset(atoms: Atoms, symprec: float, hall_number: int = 0) -> spglib.SpglibDataset:
    try:
        dataset = spglib.get_symmetry_dataset(_spglib_cell(atoms), symprec=symprec, hall_number=hall_number)
    except Exception as error:
        raise SymmetryError("no_symmetry", str(error)) from error
    if dataset is None:
        raise SymmetryError("no_symmetry", "spglib found no space group")
    return dataset


def _standardize(atoms: Atoms, symprec: float, *, primitive: bool, idealize: bool) -> Atoms:
    try:
        cell = spglib.standardize_cell(
            _spglib_cell(atoms), to_primitive=primitive, no_idealize=not idealize, symprec=symprec
        )
    except Exception as error:
        raise SymmetryError("no_symmetry", str(error)) from error
    if cell is None:
        raise SymmetryError("no_symmetry", "spglib could not standardise the cell")
    return _from_spglib(cell)


def symmetrise(atoms: Atoms, symprec: float) -> Atoms:
    """Return the primitive cell with atoms and lattice moved onto their symmetry.

    Args:
        atoms: the structure; not changed.
        symprec: largest distance of an atom from its symmetric position, Å.

    Raises:
        SymmetryError: if spglib fails.
    """
    return _standardize(atoms, symprec, primitive=True, idealize=True)


@cache
def _standard_setting(number: int) -> int:
    """Return spglib's number of the standard setting of a space group: that of spglib, or origin choice 2."""
    own, *others = _settings_of_groups()[number]
    choices = {spglib.get_spacegroup_type(hall).choice: hall for hall in (own, *others)}
    return choices.get("2", own)


@cache
def _settings_of_groups() -> dict[int, list[int]]:
    """Return spglib's numbers of the 530 settings, by space group."""
    found: dict[int, list[int]] = {}
    for hall in range(1, 531):
        found.setdefault(int(spglib.get_spacegroup_type(hall).number), []).append(hall)
    return found


def standard_cell(atoms: Atoms, symprec: float) -> StandardCell:
    """Return the conventional cell in the standard setting, with the operations of the named group.

    Args:
        atoms: the structure; not changed.
        symprec: largest distance of an atom from its symmetric position, Å.

    Raises:
        SymmetryError: ``no_symmetry`` if spglib fails, ``broken_symmetry`` if an operation of the named group does not
            map the cell onto itself.
    """
    hall = _standard_setting(int(_dataset(atoms, symprec).number))
    dataset = _dataset(atoms, symprec, hall)
    cell = _from_spglib((dataset.std_lattice, dataset.std_positions, dataset.std_types))
    projected, orbits = _project(cell, hall, MAX_MISFIT * symprec)
    symbol = str(spglib.get_spacegroup_type(hall).hall_symbol)
    of_primitive = {atom: index for index, atom in enumerate(dataset.mapping_to_primitive.tolist())}
    origins = tuple(of_primitive[int(dataset.std_mapping_to_primitive[orbit[0]])] for orbit in orbits)
    return StandardCell(
        atoms=projected,
        number=int(dataset.number),
        hall_symbol=symbol,
        orbits=orbits,
        letters=tuple(dataset.wyckoffs[atom] for atom in origins),
        origins=origins,
    )


def _project(cell: Atoms, hall_number: int, tolerance: float) -> tuple[Atoms, tuple[tuple[int, ...], ...]]:
    """Return a cell whose atoms are where the operations of a setting demand, and the atoms that these make equivalent.

    spglib's own positions can deviate by as much as its tolerance.

    Args:
        cell: cell near to such positions.
        hall_number: number of the setting.
        tolerance: largest distance between an image of an atom and an atom, Å.

    Raises:
        SymmetryError: ``broken_symmetry``.
    """
    operations = spglib.get_symmetry_from_database(hall_number)
    places, orbits, seen = cell.get_scaled_positions(), [], set[int]()
    shifts = np.zeros_like(places)
    for index, place in enumerate(places):
        images = operations["rotations"] @ place + operations["translations"]
        away = images[:, None] - places[None]
        away -= np.round(away)
        distances = np.linalg.norm(away @ cell.cell.array, axis=2)
        distances[:, cell.numbers != cell.numbers[index]] = np.inf
        equal = distances.argmin(axis=1)
        if distances.min(axis=1).max() > tolerance:
            raise SymmetryError("broken_symmetry", "an operation of the space group does not map the cell onto itself")
        np.add.at(shifts, equal, away[np.arange(len(images)), equal])
        if index not in seen:
            orbits.append((index, *sorted({int(i) for i in equal} - {index})))
            seen.update(orbits[-1])
    projected = cell.copy()
    projected.set_scaled_positions((places + shifts / len(operations["rotations"])) % 1.0)
    return projected, tuple(orbits)


def primitive_cell(atoms: Atoms, symprec: float) -> Atoms:
    """Return the primitive cell, atoms not moved onto their symmetry.

    Raises:
        SymmetryError: if spglib fails.
    """
    return _standardize(atoms, symprec, primitive=True, idealize=False)


def slicing_cell(atoms: Atoms, symprec: float, max_atoms: int) -> Atoms:
    """Return the cell to slice: conventional if it has at most ``max_atoms``, otherwise primitive.

    Raises:
        SymmetryError: if spglib fails.
    """
    conventional = _standardize(atoms, symprec, primitive=False, idealize=False)
    if len(conventional) <= max_atoms:
        return conventional
    return primitive_cell(atoms, symprec)


def rattle(atoms: Atoms, amplitude: float, rng: np.random.Generator) -> Atoms:
    """Return a copy with every atom displaced, normal distribution of width ``amplitude`` Å per axis.

    The centre of mass is not kept: a common translation costs nothing in a crystal.
    """
    moved = atoms.copy()
    moved.positions += amplitude * rng.standard_normal(moved.positions.shape)
    return moved


def doubling_matrices() -> list[NDArray[np.int64]]:
    """Return the seven ways to double a lattice: lower-triangular Hermite forms of determinant 2."""
    found = []
    for axis, n_below in ((0, 2), (1, 1), (2, 0)):
        for below in product((0, 1), repeat=n_below):
            matrix = np.eye(3, dtype=np.int64)
            matrix[axis, axis] = 2
            matrix[axis + 1 :, axis] = below
            found.append(matrix)
    return found


def _half_vector(matrix: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return twice the wave vector, modulo 2, that a doubling makes a lattice vector of, shape (3,).

    A doubled lattice consists of the translations t with exp(2πi q·t) = 1 for one q with components 0 or ½.
    """
    for bits in product((0, 1), repeat=3):
        if any(bits) and not (matrix @ np.array(bits) % 2).any():
            return np.array(bits)
    raise AssertionError(f"{matrix} does not double a lattice")


def doubled_cells(atoms: Atoms, symprec: float) -> Iterator[Atoms]:
    """Yield the doubled cells of a structure that are not equivalent by symmetry.

    Each corresponds to one wave vector with components 0 or ½ (X, M, R, ... of the Brillouin zone), up to the
    rotations of the structure; soft modes there, such as tilts of octahedra, need the doubled cell.

    Args:
        atoms: a primitive cell; not changed.
        symprec: tolerance of spglib, Å.

    Raises:
        SymmetryError: if spglib fails.
    """
    from ase.build import make_supercell  # takes a third of a second, and only searches need it
    from ase.build.tools import niggli_reduce

    rotations = _dataset(atoms, symprec).rotations
    seen: set[tuple[int, ...]] = set()
    for matrix in doubling_matrices():
        vector = _half_vector(matrix)
        if tuple(vector) in seen:
            continue
        seen.update(tuple(int(x) for x in vector @ rotation % 2) for rotation in rotations)
        doubled = make_supercell(atoms, matrix)
        niggli_reduce(doubled)
        doubled.wrap()
        yield doubled
