"""What a relaxation job runs: calculators by name, and one driver around an optimiser of ASE."""

from __future__ import annotations

from .calculators import make_calculator
from .driver import RelaxedStructure, relax

__all__ = ["RelaxedStructure", "make_calculator", "relax"]
