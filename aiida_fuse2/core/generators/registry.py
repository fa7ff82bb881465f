"""The generators by name; those of other packages are entry points of the group ``aiida_fuse2.generators``."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.plugins import Registry

from .base import Generator, SingleGenerator
from .fgen import FGen
from .fgen_paper import FGenPaper
from .gnoa import Gnoa
from .prototypes import Prototypes
from .provided import Provided
from .symmetric import Symmetric

GROUP = "aiida_fuse2.generators"
"""Entry points of generators of other packages: each a class whose ``name`` is that of the entry point."""

_ALL = (
    FGen(),
    FGenPaper(),
    Gnoa(),
    Prototypes(),
    Provided(),
    Symmetric(),
)

OWN: dict[str, Generator] = {generator.name: generator for generator in _ALL}
"""Every generator of this package by its name."""


def _load(point: EntryPoint) -> Generator:
    """Return the generator of another package."""
    loaded = point.load()()
    if not isinstance(loaded, Generator) or loaded.name != point.name:
        raise ImportError(f"{point.value} must be a Generator with the name of its entry point")
    return loaded


GENERATORS = Registry(GROUP, OWN, _load)


def generator_names() -> list[str]:
    """Return the names of all generators."""
    return GENERATORS.names()


def get_generator(name: str, *, where: str = "generator") -> Generator:
    """Return a generator.

    Args:
        name: name of the generator.
        where: name of the input, for the error.

    Raises:
        InputError: if there is no such generator, or that of another package cannot be imported.
    """
    return GENERATORS.get(name, where=where)


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
