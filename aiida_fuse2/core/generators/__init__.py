"""Generators of trial structures behind one protocol."""

from __future__ import annotations

from .base import Generator, GeneratorContext
from .registry import GENERATORS, check_generator, get_generator

__all__ = ["GENERATORS", "Generator", "GeneratorContext", "check_generator", "get_generator"]
