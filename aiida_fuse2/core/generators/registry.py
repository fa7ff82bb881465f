"""The generators by name; others are added as entry points of the group ``aiida_fuse2.generators``."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import GNOA, PROVIDED

from .base import Generator
from .fgen import FGen
from .symmetric import Symmetric

GENERATORS: dict[str, Callable[[], Generator]] = {"fgen": FGen, "symmetric": Symmetric}

GROUP = "aiida_fuse2.generators"
"""Entry points of generators from other packages."""


def check_generator(name: str, *, where: str) -> None:
    """Check that a generator exists.

    Raises:
        InputError: where there is none of that name.
    """
    known = sorted({*GENERATORS, *entry_points(group=GROUP).names, GNOA, PROVIDED})
    if name not in known:
        raise InputError(where, name, f"must be one of {', '.join(known)}")


def get_generator(name: str) -> Generator:
    """Return the generator of that name.

    Raises:
        InputError: where there is none.
    """
    if name in GENERATORS:
        return GENERATORS[name]()
    found = entry_points(group=GROUP)
    if name in found.names:
        loaded: Generator = found[name].load()()
        return loaded
    raise InputError("generator", name, f"must be one of {', '.join(sorted({*GENERATORS, *found.names}))}")
