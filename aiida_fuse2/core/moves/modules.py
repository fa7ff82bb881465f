"""Moves 7 and 8: sub-modules, or whole modules, are swapped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.slicing import SlicedStructure, assemble
from aiida_fuse2.core.errors import MoveError

from .base import MoveContext

SAME_CONTENT = 1e-3
"""Two contents are the same if every atom of one has an equal atom in the other within this distance, as a
fraction of a box: well above the noise of a relaxed symmetric structure, well below a real difference."""

MIN_SWAPPABLE = 3
"""Smallest number of sub-modules or modules for a swap: swapping the two halves of a cell only translates it."""


def can_swap_submodules(sliced: SlicedStructure) -> bool:
    """Return whether there are sub-modules whose swap makes another structure."""
    return sliced.n_boxes >= MIN_SWAPPABLE and _differ(_submodule_kinds(sliced))


def can_swap_modules(sliced: SlicedStructure) -> bool:
    """Return whether there are modules whose swap makes another structure."""
    return sliced.n_modules >= MIN_SWAPPABLE and _differ(_module_kinds(sliced))


def swap_submodules(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:  # noqa: ARG001
    """Move 7: two sub-modules of different content are swapped."""
    if sliced.n_boxes < MIN_SWAPPABLE:
        raise MoveError("too_few_submodules")
    first, second = _draw_pair(_submodule_kinds(sliced), rng)
    boxes = sliced.boxes.copy()
    boxes[sliced.contents(first)] = sliced.box_index(second)
    boxes[sliced.contents(second)] = sliced.box_index(first)
    return assemble(sliced.with_boxes(boxes))


def swap_modules(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:  # noqa: ARG001
    """Move 8: two modules of different content are swapped along c."""
    if sliced.n_modules < MIN_SWAPPABLE:
        raise MoveError("too_few_modules")
    first, second = _draw_pair(_module_kinds(sliced), rng)
    boxes = sliced.boxes.copy()
    boxes[sliced.boxes[:, 2] == first, 2] = second
    boxes[sliced.boxes[:, 2] == second, 2] = first
    return assemble(sliced.with_boxes(boxes))


def _submodule_kinds(sliced: SlicedStructure) -> NDArray[np.int64]:
    """Return a number for each sub-module, equal where the contents are the same, shape (n_boxes,)."""
    members = [sliced.contents(number) for number in range(sliced.n_boxes)]
    return _kinds(sliced.numbers, sliced.offsets, members)


def _module_kinds(sliced: SlicedStructure) -> NDArray[np.int64]:
    """Return a number for each module, equal where the contents are the same, shape (n_modules,)."""
    places = sliced.offsets + sliced.boxes * np.array([1, 1, 0])  # in units of boxes, as offsets are
    members = [np.flatnonzero(sliced.boxes[:, 2] == layer) for layer in range(sliced.n_modules)]
    return _kinds(sliced.numbers, places, members)


def _kinds(
    numbers: NDArray[np.int64], places: NDArray[np.float64], members: Sequence[NDArray[np.intp]]
) -> NDArray[np.int64]:
    found: list[NDArray[np.intp]] = []
    kinds = np.empty(len(members), dtype=np.int64)
    for index, atoms in enumerate(members):
        same = (k for k, known in enumerate(found) if _same_content(numbers, places, known, atoms))
        kinds[index] = next(same, len(found))
        if kinds[index] == len(found):
            found.append(atoms)
    return kinds


def _same_content(
    numbers: NDArray[np.int64], places: NDArray[np.float64], a: NDArray[np.intp], b: NDArray[np.intp]
) -> bool:
    """Return whether the atoms ``a`` and ``b`` are the same at the same positions in their boxes."""
    from scipy.optimize import linear_sum_assignment  # slow to import, as in moves.atoms

    if sorted(numbers[a]) != sorted(numbers[b]):
        return False
    far = np.abs(places[a][:, None] - places[b]).max(axis=-1, initial=0.0) > SAME_CONTENT
    unlike = far | (numbers[a][:, None] != numbers[b])
    rows, columns = linear_sum_assignment(unlike)
    return not unlike[rows, columns].any()


def _differ(kinds: NDArray[np.int64]) -> bool:
    return bool(kinds.max() > 0)


def _draw_pair(kinds: NDArray[np.int64], rng: np.random.Generator) -> tuple[int, int]:
    """Return two random indices of different kinds."""
    pairs = np.argwhere(np.triu(kinds[:, None] != kinds))
    if not len(pairs):
        raise MoveError("all_equal")
    first, second = pairs[rng.integers(len(pairs))]
    return int(first), int(second)
