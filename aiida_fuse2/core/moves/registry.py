"""The moves by the paper's number (section 2.2)."""

from __future__ import annotations

from aiida_fuse2.core.crystal.slicing import SlicedStructure

from . import atoms, cells, modules, new, supercells
from .base import Move, MoveContext


def _always(sliced: SlicedStructure, context: MoveContext) -> bool:  # noqa: ARG001
    return True


def _compound(sliced: SlicedStructure, context: MoveContext) -> bool:  # noqa: ARG001
    return atoms.has_species(sliced)


def _part(sliced: SlicedStructure, context: MoveContext) -> bool:  # noqa: ARG001
    return atoms.has_part(sliced)


def _compound_part(sliced: SlicedStructure, context: MoveContext) -> bool:  # noqa: ARG001
    return atoms.has_species(sliced) and atoms.has_part(sliced)


def _submodules(sliced: SlicedStructure, context: MoveContext) -> bool:  # noqa: ARG001
    return modules.can_swap_submodules(sliced)


def _modules(sliced: SlicedStructure, context: MoveContext) -> bool:  # noqa: ARG001
    return modules.can_swap_modules(sliced)


def _mutable(sliced: SlicedStructure, context: MoveContext) -> bool:  # noqa: ARG001
    return bool(cells.mutable_submodules(sliced))


def _room_for_two(sliced: SlicedStructure, context: MoveContext) -> bool:
    return supercells.has_room(sliced, context, 2)


def _room_for_three(sliced: SlicedStructure, context: MoveContext) -> bool:
    return supercells.has_room(sliced, context, 3)


_ALL = (
    Move(number=1, name="swap atoms", function=atoms.swap_atoms, applicable=_compound),
    Move(number=2, name="atom to vacancy", function=atoms.move_to_vacancy, applicable=_always),
    Move(number=3, name="permute some", function=atoms.permute_some, applicable=_compound_part),
    Move(
        number=4,
        name="permute some with vacancies",
        function=atoms.permute_some_with_vacancies,
        applicable=_part,
    ),
    Move(number=5, name="permute all", function=atoms.permute_all, applicable=_compound),
    Move(
        number=6,
        name="permute all with vacancies",
        function=atoms.permute_all_with_vacancies,
        applicable=_always,
    ),
    Move(number=7, name="swap sub-modules", function=modules.swap_submodules, applicable=_submodules),
    Move(number=8, name="swap modules", function=modules.swap_modules, applicable=_modules),
    Move(number=9, name="new cell shape", function=cells.new_cell_shape, applicable=_always),
    Move(number=10, name="mutate sub-module", function=cells.mutate_submodule, applicable=_mutable),
    Move(
        number=11,
        name="double",
        function=supercells.double,
        applicable=_room_for_two,
        keeps_lattice=True,
    ),
    Move(
        number=12,
        name="triple",
        function=supercells.triple,
        applicable=_room_for_three,
        keeps_lattice=True,
    ),
    Move(number=13, name="new, same size", function=new.new_of_this_size, applicable=_always),
    Move(number=14, name="new, any size", function=new.new_of_any_size, applicable=_always),
)

MOVES: dict[int, Move] = {move.number: move for move in _ALL}
"""Every move by its number."""
