"""The generators by name; others are added as entry points of the group ``aiida_fuse2.generators``."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from aiida_fuse2.core.errors import InputError

from .base import Generator
from .fgen import FGen
from .symmetric import Symmetric

GENERATORS: dict[str, Callable[[], Generator]] = {"fgen": FGen, "symmetric": Symmetric}


def get_generator(name: str) -> Generator:
    """Return the generator of that name.

    Raises:
        InputError: where there is none.
    """
    if name in GENERATORS:
        return GENERATORS[name]()
    found = entry_points(group="aiida_fuse2.generators")
    if name in found.names:
        loaded: Generator = found[name].load()()
        return loaded
    known = sorted({*GENERATORS, *found.names, "provided"})
    raise InputError("generator", name, f"must be one of {', '.join(known)}")
