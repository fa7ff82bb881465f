"""Moves 11 and 12: the structure doubles or triples along an axis."""

from __future__ import annotations

from enum import StrEnum
from functools import partial

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.slicing import SlicedStructure, assemble, slice_structure
from aiida_fuse2.core.crystal.uniqueness import FINGERPRINT_STOL, are_equal
from aiida_fuse2.core.errors import MoveError

from .atoms import has_species, move_to_vacancy, swap_atoms
from .base import MoveContext, MoveFunction, make_crystal
from .symmetric import displace_copies

COINCIDENCE = 0.1
"""Atoms nearer than this are the same atom twice, Å: on the face of the mirror or at the centre of inversion.
(The checks of validity find contacts that are merely short.)"""

NORMAL_TOLERANCE = 1.0
"""Largest angle of an axis to the normal of its face for a mirror, degrees. The mirror image is then
sheared by twice this, less than a relaxation moves atoms."""

INVERSION_CENTRE = 0.5
"""In-plane fractional coordinates of the centre of the joining face."""


class Extension(StrEnum):
    """Kinds of making the new part of a longer structure from the old one."""

    REPEAT = "repeat"
    TRANSLATE = "translate"
    INVERT = "invert"
    MIRROR = "mirror"


def has_room(sliced: SlicedStructure, context: MoveContext, copies: int) -> bool:
    """Return whether ``copies`` of the structure fit the atom limit."""
    return copies * len(sliced) <= context.max_atoms


def double(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
    """Move 11: twice the structure along a random axis, the new half made in one of four ways.

    The mirror is only among them where the axis is normal to its face: elsewhere the image would not
    be the same crystal. Beyond the paper: a trial that is the parent again is changed, see ``_changed``.
    """
    _require_room(sliced, context, 2)
    axis = int(rng.integers(3))
    kinds = [kind for kind in Extension if kind != Extension.MIRROR or axis_is_normal(sliced.cell, axis)]
    return _changed(doubled(sliced, axis=axis, kind=kinds[rng.integers(len(kinds))]), sliced, context, rng)


def triple(sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
    """Move 12: three times the structure along a random axis, repeated or shifted by ⅓ in the plane.

    Beyond the paper: a trial that is the parent again is changed, see ``_changed``.
    """
    _require_room(sliced, context, 3)
    axis = int(rng.integers(3))
    kinds = (Extension.REPEAT, Extension.TRANSLATE)
    return _changed(tripled(sliced, axis=axis, kind=kinds[rng.integers(len(kinds))]), sliced, context, rng)


def _changed(trial: Atoms, sliced: SlicedStructure, context: MoveContext, rng: np.random.Generator) -> Atoms:
    """Return a longer structure after a second change if it is the parent again, as a plain repeat always is.

    The paper's trials stay as they are; most of them relax back. The second change breaks the new translation: two
    atoms are swapped, an atom goes to a vacant site, or the copies are displaced unlike each other.
    """
    if context.plain or not are_equal(trial, assemble(sliced), stol=FINGERPRINT_STOL):
        return trial
    longer = slice_structure(trial, context.ap)
    changes: list[MoveFunction] = [move_to_vacancy, partial(displace_copies, copies=len(trial) // len(sliced))]
    changes += [swap_atoms] * has_species(sliced)
    return changes[rng.integers(len(changes))](longer, context, rng)


def axis_is_normal(cell: NDArray[np.float64], axis: int) -> bool:
    """Return whether a lattice vector is normal to the face that the other two span."""
    normal = np.cross(cell[axis - 2], cell[axis - 1])
    cosine = abs(normal @ cell[axis]) / (np.linalg.norm(normal) * np.linalg.norm(cell[axis]))
    return bool(cosine >= np.cos(np.radians(NORMAL_TOLERANCE)))


def doubled(sliced: SlicedStructure, *, axis: int, kind: Extension) -> Atoms:
    """Return twice the structure along ``axis``; the halves join at the face at 1 along it.

    For inversion and mirror the structure is first shifted along the axis until its widest gap lies at
    that face: where a structure begins is a matter of convention, and atoms on the face of a symmetric
    crystal would coincide with their images.

    Raises:
        MoveError: ``overlap`` if an atom and its image coincide.
    """
    match kind:
        case Extension.REPEAT:
            image = _shifted(sliced.fractional, axis, copy=1, in_plane=0.0)
        case Extension.TRANSLATE:
            image = _shifted(sliced.fractional, axis, copy=1, in_plane=1 / 2)
        case Extension.INVERT:
            first = _open_face(sliced.fractional, axis)
            return _stacked(sliced, [first, 2 * _face_centre(axis) - first], axis)
        case Extension.MIRROR:
            first = _open_face(sliced.fractional, axis)
            image = first.copy()
            image[:, axis] = 2.0 - image[:, axis]
            return _stacked(sliced, [first, image], axis)
    return _stacked(sliced, [sliced.fractional, image], axis)


def tripled(sliced: SlicedStructure, *, axis: int, kind: Extension) -> Atoms:
    """Return three times the structure along ``axis``, each image shifted by a further ⅓ or not at all.

    Raises:
        MoveError: ``overlap`` if atoms coincide.
        ValueError: if the kind is neither repeat nor translate.
    """
    if kind not in (Extension.REPEAT, Extension.TRANSLATE):
        raise ValueError(f"kind = {kind!r}: a structure is tripled by repeat or translate")
    step = 1 / 3 if kind == Extension.TRANSLATE else 0.0
    images = [_shifted(sliced.fractional, axis, copy=copy, in_plane=copy * step) for copy in range(3)]
    return _stacked(sliced, images, axis)


def _require_room(sliced: SlicedStructure, context: MoveContext, copies: int) -> None:
    if not has_room(sliced, context, copies):
        raise MoveError("too_many_atoms", f"{copies} x {len(sliced)} > {context.max_atoms}")


def _open_face(fractional: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the positions shifted along an axis so that the middle of the widest gap lies at 0."""
    heights = np.sort(fractional[:, axis] % 1.0)
    gaps = np.diff(heights, append=heights[0] + 1.0)
    widest = int(gaps.argmax())
    shifted = fractional.copy()
    shifted[:, axis] = (shifted[:, axis] - heights[widest] - gaps[widest] / 2) % 1.0
    return shifted


def _face_centre(axis: int) -> NDArray[np.float64]:
    centre = np.full(3, INVERSION_CENTRE)
    centre[axis] = 1.0
    return centre


def _shifted(fractional: NDArray[np.float64], axis: int, *, copy: int, in_plane: float) -> NDArray[np.float64]:
    shift = np.full(3, in_plane)
    shift[axis] = copy
    return fractional + shift


def _stacked(sliced: SlicedStructure, images: list[NDArray[np.float64]], axis: int) -> Atoms:
    """Return the crystal of images whose coordinates are fractions of the old cell, in the longer one."""
    stretch = np.ones(3)
    stretch[axis] = len(images)
    numbers = np.tile(sliced.numbers, len(images))
    trial = make_crystal(numbers, np.vstack(images) / stretch, sliced.cell * stretch[:, None])
    if len(neighbour_list("i", trial, COINCIDENCE)):
        raise MoveError("overlap", f"atoms nearer than {COINCIDENCE} Å")
    return trial
