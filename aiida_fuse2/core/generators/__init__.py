"""Generators of trial structures, and their registry."""

from __future__ import annotations

from .base import (
    PROTOTYPE,
    SCORE,
    Generator,
    GeneratorContext,
    PieceResult,
    PoolContext,
    PoolGenerator,
    SingleGenerator,
)
from .registry import OWN, generator_names, get_generator, single_generator
from .sizes import draw_z

__all__ = [
    "OWN",
    "PROTOTYPE",
    "SCORE",
    "Generator",
    "GeneratorContext",
    "PieceResult",
    "PoolContext",
    "PoolGenerator",
    "SingleGenerator",
    "draw_z",
    "generator_names",
    "get_generator",
    "single_generator",
]
