"""Generators of trial structures behind one protocol."""

from __future__ import annotations

from .base import Generator, GeneratorContext
from .registry import GENERATORS, GNOA, PROVIDED, check_generator, get_generator

__all__ = ["GENERATORS", "GNOA", "PROVIDED", "Generator", "GeneratorContext", "check_generator", "get_generator"]
