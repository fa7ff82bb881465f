"""``symmetric``: random structures in random space groups, made by pyxtal.

S. Fredericks, K. Parrish, D. Sayre, Q. Zhu, Comput. Phys. Commun. 2021, 261, 107810,
DOI 10.1016/j.cpc.2020.107810. Few degrees of freedom make such starts cheap to relax.

- Atoms are counted in the primitive cell, which is what is relaxed: pyxtal is told the contents of the
  primitive cell (``conventional=False``) and multiplies them by the centring itself.
- Z is uniform over what fits; then the space group is uniform over those (2-230) whose Wyckoff positions
  can hold the composition, so that no attempt is spent on an incompatible group.
- The volume is pyxtal's own draw: for each element a uniform one between its covalent and its van der
  Waals sphere, times 1.1. The 46 published structures of the paper lie at -0.03 (Mn) to 1.23 (Cu7S4) of
  the range between all-covalent and all-van-der-Waals, 0.65 in the mean: no single factor fits them.
- Contacts: pyxtal's atomic tolerances, half the sum of the covalent radii.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import copy
from functools import cache, lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from aiida_fuse2.core.errors import GenerationError
from aiida_fuse2.core.symmetry import SymmetryError, primitive_cell

from .base import GeneratorContext

SPACE_GROUPS = range(2, 231)
"""Space-group numbers drawn from; P1 has no symmetry to impose."""

MAX_LOOKUPS = 500
"""Tolerances that pyxtal may look up for one structure; it does so for each site it tries, so this bounds
the work of an attempt by a count and not by a clock (pyxtal on its own goes on for up to 400 whole
attempts). Structures of 5-24 atoms need 13-42 in the median, and 95 % of them fewer than 300. For
Ca3Ti2O7 and Li3Si3O5Cl5 up to 48 atoms, 300 and 500 cost the same time per valid structure, 1500 and 5000
up to 3.5 times more. Crowded cells (tourmaline, 7 elements, 50 atoms) fail in 7 of 10 attempts with 500."""

PRIMITIVE_SYMPREC = 1e-3
"""Tolerance for finding the primitive cell of a structure whose symmetry is exact, Å."""

SEED_WORDS = 4
"""Random 63-bit words that seed the stream of one structure."""


class _LookupLimitError(Exception):
    """pyxtal used up its lookups; never leaves this module."""


@cache
def _group(number: int) -> Any:
    """Return pyxtal's table of a space group; reading one costs 6 ms the first time."""
    from pyxtal.symmetry import Group

    return Group(number)


@cache
def _tolerances() -> Any:
    """Return pyxtal's atomic tolerances; the table of all pairs of elements takes 4 ms to fill."""
    from pyxtal.tolerance import Tol_matrix

    return Tol_matrix(prototype="atomic")


def _bounded_tolerances(limit: int) -> Any:
    """Return tolerances that can be looked up ``limit`` times."""
    bounded = copy(_tolerances())
    lookup = bounded.get_tol
    used = 0

    def get_tol(first: Any, second: Any) -> float | None:
        nonlocal used
        used += 1
        if used > limit:
            raise _LookupLimitError
        value: float | None = lookup(first, second)
        return value

    bounded.get_tol = get_tol
    return bounded


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence pyxtal, which prints and warns about volumes it enlarges."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _shared_tolerances() -> Iterator[None]:
    """Let pyxtal's check of periodic images share one table of tolerances.

    It fills a table of its own at every call and never reads it when it is given a tolerance, as here;
    that is more than half of the time of a structure.
    """
    from pyxtal import operations

    original = operations.Tol_matrix
    operations.Tol_matrix = lambda *_, **__: _tolerances()
    try:
        yield
    finally:
        operations.Tol_matrix = original


class _Positions(NamedTuple):
    """Multiplicities of the Wyckoff positions of a group, counted in the primitive cell.

    ``free`` ones have a coordinate to choose and take any number of atoms; each of the ``fixed`` kinds
    (multiplicity, how many positions) can be occupied once per position.
    """

    free: tuple[int, ...]
    fixed: tuple[tuple[int, int], ...]


@cache
def _positions(number: int) -> _Positions:
    group = _group(number)
    centring = int(group.cellsize())
    multiplicities = [(int(wp.multiplicity) // centring, wp.get_dof() > 0) for wp in group]
    free = {m for m, has_freedom in multiplicities if has_freedom}
    fixed = Counter(m for m, has_freedom in multiplicities if not has_freedom and m not in free)
    return _Positions(tuple(sorted(free)), tuple(sorted(fixed.items())))


@lru_cache(maxsize=65536)
def _fills(free: tuple[int, ...], n_atoms: int) -> bool:
    """Return whether ``n_atoms`` is a sum of these multiplicities."""
    reachable = [True, *([False] * n_atoms)]
    for total in range(1, n_atoms + 1):
        reachable[total] = any(m <= total and reachable[total - m] for m in free)
    return reachable[n_atoms]


def holds(positions: _Positions, counts: tuple[int, ...]) -> bool:
    """Return whether Wyckoff positions can hold these numbers of atoms, element after element.

    The check is exact: elements share the positions that can be occupied only once.
    """
    if not counts:
        return True
    multiplicities = [m for m, _ in positions.fixed]
    for used in product(*(range(available + 1) for _, available in positions.fixed)):
        rest = counts[0] - sum(u * m for u, m in zip(used, multiplicities, strict=True))
        if rest < 0 or not _fills(positions.free, rest):
            continue
        left = tuple((m, n - u) for (m, n), u in zip(positions.fixed, used, strict=True))
        if holds(_Positions(positions.free, left), counts[1:]):
            return True
    return False


@lru_cache(maxsize=1024)
def compatible_groups(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Return the space groups whose Wyckoff positions can hold these atoms; never empty.

    The mirror planes of Pm hold any number of atoms. (pyxtal's own check gives the same answer, but
    takes seconds for elements with many atoms.)

    Args:
        counts: number of atoms of each element in the primitive cell.
    """
    return tuple(number for number in SPACE_GROUPS if holds(_positions(number), counts))


def _counts(context: GeneratorContext, z: int) -> tuple[int, ...]:
    return tuple(z * number for _, number in context.unit.counts)


def _draw_contents(context: GeneratorContext, rng: np.random.Generator) -> tuple[tuple[int, ...], int]:
    """Draw the number of atoms of each element in the primitive cell, then the space group."""
    fits = context.unit.z_values(context.max_atoms, context.min_atoms)
    if not fits:
        limits = f"{context.unit.formula}: no cell of {context.min_atoms} to {context.max_atoms} atoms"
        raise GenerationError("no_feasible_z", limits)
    counts = _counts(context, fits[rng.integers(len(fits))])
    groups = compatible_groups(counts)
    return counts, groups[rng.integers(len(groups))]


def _random_crystal(elements: tuple[str, ...], counts: tuple[int, ...], number: int, rng: np.random.Generator) -> Atoms:
    """Return a random structure in the conventional cell of a space group.

    pyxtal spawns child streams by the count of earlier children. It gets a stream of its own, seeded
    from ``rng``, so that the structure depends on the state of ``rng`` alone and ``rng`` advances.
    """
    from pyxtal import pyxtal

    own = np.random.default_rng(rng.integers(2**63, size=SEED_WORDS))
    crystal = pyxtal()
    try:
        with _quiet(), _shared_tolerances():
            crystal.from_random(
                3,
                _group(number),
                list(elements),
                list(counts),
                conventional=False,
                max_count=1,
                random_state=own,
                tm=_bounded_tolerances(MAX_LOOKUPS),
            )
            return crystal.to_ase(resort=False)
    except _LookupLimitError:
        raise GenerationError("too_crowded", f"space group {number}, {counts}: no room found") from None
    except Exception as error:  # pyxtal raises RuntimeError, ValueError and its own classes
        raise GenerationError("pyxtal_failed", f"space group {number}, {counts}: {error}") from error


class Symmetric:
    """Random structures in random space groups (pyxtal)."""

    name = "symmetric"

    def __call__(self, context: GeneratorContext, rng: np.random.Generator) -> Atoms:
        """Return the primitive cell of one structure of the composition within the atom limits.

        A random structure can have a smaller primitive cell than was asked for; it then has a lower Z.

        Raises:
            GenerationError: ``no_feasible_z`` where nothing fits the limits; ``too_crowded`` or
                ``pyxtal_failed`` where this attempt found no room for the atoms; ``no_symmetry`` where
                spglib cannot read the structure; ``outside_limits`` where the primitive cell turned out
                to be smaller than ``min_atoms``.
        """
        counts, number = _draw_contents(context, rng)
        conventional = _random_crystal(context.unit.elements, counts, number, rng)
        try:
            atoms = primitive_cell(conventional, PRIMITIVE_SYMPREC)
        except SymmetryError as error:
            raise GenerationError("no_symmetry", str(error)) from error
        if context.unit.z_of(atoms) is None or not context.min_atoms <= len(atoms) <= context.max_atoms:
            detail = f"space group {number}: {atoms.get_chemical_formula()} in the primitive cell"
            raise GenerationError("outside_limits", detail)
        atoms.wrap()
        return atoms
