"""The generators by name; those of other packages are entry points of the group ``aiida_fuse2.generators``."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from aiida_fuse2.core.errors import InputError

from .base import Generator, SingleGenerator
from .fgen import FGen
from .gnoa import Gnoa
from .provided import Provided
from .symmetric import Symmetric

GROUP = "aiida_fuse2.generators"
"""Entry points of generators of other packages: each a class whose ``name`` is that of the entry point."""

_ALL = (
    FGen(),
    Gnoa(),
    Provided(),
    Symmetric(),
)

OWN: dict[str, Generator] = {generator.name: generator for generator in _ALL}
"""Every generator of this package by its name."""


@cache
def _of_others() -> dict[str, EntryPoint]:
    """Return the entry points of other packages by name; this takes milliseconds."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in OWN}


@cache
def _load(name: str) -> Generator:
    point = _of_others()[name]
    loaded = point.load()()
    if not isinstance(loaded, Generator) or loaded.name != name:
        raise ImportError(f"{point.value} must be a Generator with the name of its entry point")
    return loaded


def generator_names() -> list[str]:
    """Return the names of all generators."""
    return sorted({*OWN, *_of_others()})


def get_generator(name: str, *, where: str = "generator") -> Generator:
    """Return a generator.

    Args:
        name: name of the generator.
        where: name of the input, for the error.

    Raises:
        InputError: if there is no such generator, or that of another package cannot be imported.
    """
    if name in OWN:
        return OWN[name]
    if name not in _of_others():
        raise InputError(where, name, f"must be one of {', '.join(generator_names())}")
    try:
        return _load(name)
    except (ImportError, AttributeError) as error:
        raise InputError(where, name, f"the package that brings it cannot be used ({error})") from error


def single_generator(name: str, *, where: str = "generator") -> SingleGenerator:
    """Return a generator that makes one structure at a time.

    Args:
        name: name of the generator.
        where: name of the input, for the error.

    Raises:
        InputError: if there is no such generator, or it makes pools or nothing.
    """
    generator = get_generator(name, where=where)
    if not isinstance(generator, SingleGenerator):
        raise InputError(where, name, "must be a generator that makes structures one at a time, such as fgen")
    return generator
