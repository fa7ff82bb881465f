"""Generators of trial structures behind one protocol."""

from __future__ import annotations

from .base import Generator, GeneratorContext
from .registry import GENERATORS, PROVIDED, check_generator, get_generator

__all__ = ["GENERATORS", "PROVIDED", "Generator", "GeneratorContext", "check_generator", "get_generator"]
