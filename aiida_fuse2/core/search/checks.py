"""Checks of settings of a search that concern several of them together."""

from __future__ import annotations

from collections.abc import Sequence

from ase.data import atomic_numbers

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.generators import get_generator, single_generator
from aiida_fuse2.core.moves import get_move, ordered
from aiida_fuse2.core.settings import MAX_TRIALS
from aiida_fuse2.core.settings.search import SearchSettings

from .known import check_known
from .watching import structures_needed


def check_search(settings: SearchSettings, *, where: str = "settings") -> None:
    """Check the settings that depend on each other.

    Raises:
        InputError: for the first contradiction.
    """
    check_pool(settings, where=where)
    trials = settings.walkers * settings.trials_per_step
    if trials > MAX_TRIALS:
        expected = f"{trials} trials in a generation (times {settings.walkers} walkers); at most {MAX_TRIALS}"
        raise InputError(f"{where}.trials_per_step", settings.trials_per_step, expected)
    _check_stop(settings, where)
    _check_weights(settings, settings.unit, where)


def check_pool(settings: SearchSettings, names: Sequence[str] | None = None, *, where: str = "settings") -> None:
    """Check the settings of a pool; the job that makes it does not need packages with moves or other generators.

    Args:
        settings: settings of the search.
        names: names of the generators that make the pool; by default all of the settings.
        where: path of the settings, for the message.

    Raises:
        InputError: for the first contradiction.
    """
    unit = settings.unit
    _ = settings.ap  # radii and oxidation states
    chosen = [get_generator(name, where=f"{where}.starts") for name in names or settings.starts]
    for generator in chosen:
        if generator.in_process and generator.makes_structures:
            single_generator(generator.name, where=f"{where}.starts")
    for field, value in (("max_atoms", settings.max_atoms), ("initial_max_atoms", settings.initial_limit)):
        if value < unit.n_atoms:
            raise InputError(f"{where}.{field}", value, f"one formula unit of {unit.formula} has {unit.n_atoms} atoms")
    if settings.initial_max_atoms is not None and settings.initial_max_atoms > settings.max_atoms:
        raise InputError(
            f"{where}.initial_max_atoms", settings.initial_max_atoms, f"exceeds max_atoms = {settings.max_atoms}"
        )
    if settings.pool.min_atoms > settings.initial_limit or not unit.z_values(
        settings.initial_limit, settings.pool.min_atoms
    ):
        expected = f"no multiple of {unit.n_atoms} atoms lies between it and {settings.initial_limit}"
        raise InputError(f"{where}.pool.min_atoms", settings.pool.min_atoms, expected)
    check_known(settings, where=where)
    for generator in [*chosen, get_generator(settings.random_generator)]:
        generator.check(settings, where=where)
    _check_pairs(settings, unit, where)


def _check_pairs(settings: SearchSettings, unit: FormulaUnit, where: str) -> None:
    seen: set[tuple[str, ...]] = set()
    for pair, value in settings.validity.min_distances.items():
        parts = pair.split("-")
        if len(parts) != 2 or any(p not in atomic_numbers or p not in unit.elements for p in parts):
            expected = f"name two elements of {unit.formula}, e.g. '{unit.elements[0]}-{unit.elements[-1]}'"
            raise InputError(f"{where}.validity.min_distances[{pair}]", value, expected)
        ordered = tuple(sorted(parts))
        if ordered in seen:
            raise InputError(f"{where}.validity.min_distances[{pair}]", value, "this pair is given twice")
        seen.add(ordered)


def _check_stop(settings: SearchSettings, where: str) -> None:
    """A chance that no search within the limits can show would never end one."""
    if settings.stop_chance is None:
        return
    least = structures_needed(settings.stop_chance, 1, settings.stop_confidence)
    for name, limit, reached in (
        ("max_structures", settings.max_structures, least + 1),
        ("rmax", settings.rmax, least),
    ):
        if reached > limit:
            expected = f"takes at least {reached} structures, but {name} = {limit}: give a larger chance or {name}"
            raise InputError(f"{where}.stop_chance", settings.stop_chance, expected)


def _check_weights(settings: SearchSettings, unit: FormulaUnit, where: str) -> None:
    """A search in which no weighted move can ever be used would propose nothing but new structures."""
    for field in ("move_weights", "melted_move_weights"):
        weights: dict[str, float] | None = getattr(settings, field)
        moves = [get_move(name, where=f"{where}.{field}") for name in ordered(weights or {})]
        used = [move for move in moves if weights and weights[move.name] > 0]
        obstacles = {move.name: move.obstacle(unit, settings.max_atoms, settings.known) for move in used}
        if used and all(obstacles.values()):
            reasons = "; ".join(f"move {name} cannot be used {why}" for name, why in obstacles.items())
            raise InputError(f"{where}.{field}", weights, f"{reasons}; give another move a weight above 0")
