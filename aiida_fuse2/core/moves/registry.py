"""The moves by name; those of other packages are entry points of the group ``aiida_fuse2.moves``.

A move of this package is one line of ``_ALL``. The names of the paper's moves (section 2.2) are its numbers; the others
have words as names, and a search uses them only if ``move_weights`` names them.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import EntryPoint

from aiida_fuse2.core.crystal.slicing import SlicedStructure
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.plugins import Registry

from . import atoms, cells, modules, new, splice, strain, supercells, symmetric
from .base import WORD, Move, MoveContext
from .clear import cleared

GROUP = "aiida_fuse2.moves"
"""Entry points of moves of other packages: each an instance of ``Move`` with the name of the entry point."""


def _part(sliced: SlicedStructure, context: MoveContext) -> bool:  # noqa: ARG001
    return atoms.has_part(sliced)


def _submodules(sliced: SlicedStructure, context: MoveContext) -> bool:  # noqa: ARG001
    return modules.can_swap_submodules(sliced)


def _modules(sliced: SlicedStructure, context: MoveContext) -> bool:  # noqa: ARG001
    return modules.can_swap_modules(sliced)


def _mutable(sliced: SlicedStructure, context: MoveContext) -> bool:  # noqa: ARG001
    return bool(cells.mutable_submodules(sliced))


def _others(sliced: SlicedStructure, context: MoveContext) -> bool:  # noqa: ARG001
    return bool(context.others)


def _room_for_two(sliced: SlicedStructure, context: MoveContext) -> bool:
    return supercells.has_room(sliced, context, 2)


def _room_for_three(sliced: SlicedStructure, context: MoveContext) -> bool:
    return supercells.has_room(sliced, context, 3)


NEW_STRUCTURE = Move(name="14", title="new, any size", function=new.new_of_any_size, draws_from_pool=True)
"""The move whose trial does not depend on the structure at all."""

_ALL = (
    Move(name="1", title="swap atoms", function=cleared(atoms.swap_atoms), needs_species=True),
    Move(name="2", title="atom to vacancy", function=atoms.move_to_vacancy),
    Move(name="3", title="permute some", function=cleared(atoms.permute_some), suits=_part, needs_species=True),
    Move(name="4", title="permute some with vacancies", function=atoms.permute_some_with_vacancies, suits=_part),
    Move(name="5", title="permute all", function=cleared(atoms.permute_all), needs_species=True),
    Move(name="6", title="permute all with vacancies", function=atoms.permute_all_with_vacancies),
    Move(name="7", title="swap sub-modules", function=cleared(modules.swap_submodules), suits=_submodules),
    Move(name="8", title="swap modules", function=cleared(modules.swap_modules), suits=_modules),
    Move(name="9", title="new cell shape", function=cleared(cells.new_cell_shape), reshapes=True),
    Move(name="10", title="mutate sub-module", function=cleared(cells.mutate_submodule), suits=_mutable),
    Move(
        name="11", title="double", function=cleared(supercells.double), suits=_room_for_two, room=1, keeps_lattice=True
    ),
    Move(
        name="12",
        title="triple",
        function=cleared(supercells.triple),
        suits=_room_for_three,
        room=2,
        keeps_lattice=True,
    ),
    Move(name="13", title="new, same size", function=new.new_of_this_size, draws_from_pool=True),
    NEW_STRUCTURE,
    Move(
        name="splice",
        title="with a slab of another walker",
        function=cleared(splice.splice),
        suits=_others,
        reshapes=True,
    ),
    Move(name="strain", title="strain cell", function=cleared(strain.strain_cell), reshapes=True),
    Move(name="orbits", title="swap or move orbits", function=cleared(symmetric.move_orbits)),
    Move(name="subgroup", title="lower symmetry", function=cleared(symmetric.lower_symmetry), may_double=True),
    Move(name="decorate", title="other species on sites", function=cleared(symmetric.decorate), needs_species=True),
)

OWN: dict[str, Move] = {move.name: move for move in _ALL}
"""Every move of this package by its name, in the order in which they are drawn and shown."""

PAPER: tuple[str, ...] = tuple(name for name in OWN if name.isdigit())
"""Names of the moves of the paper, which a search draws unless it names others."""


def _load(point: EntryPoint) -> Move:
    """Return the move of another package."""
    loaded = point.load()
    if not isinstance(loaded, Move) or loaded.name != point.name or not WORD.fullmatch(point.name):
        raise ImportError(f"{point.value} must be a Move with the name of its entry point, a word in lower case")
    return loaded


MOVES = Registry(GROUP, OWN, _load)


def move_names() -> list[str]:
    """Return the names of all moves: those of this package, then those of others."""
    return MOVES.names()


def ordered(names: Collection[str]) -> list[str]:
    """Return names of moves in the order in which they are drawn and shown."""
    return [*(name for name in OWN if name in names), *sorted(set(names) - set(OWN))]


def get_move(name: str, *, where: str = "move") -> Move:
    """Return a move.

    Args:
        name: name of the move.
        where: name of the input, for the error.

    Raises:
        InputError: if there is no such move, or that of another package cannot be imported.
    """
    return MOVES.get(name, where=where)


def find_move(name: str) -> Move | None:
    """Return a move, or None if it is not installed or no move was used."""
    try:
        return get_move(name)
    except InputError:
        return None
