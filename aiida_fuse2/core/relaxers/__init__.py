"""What a relaxation job runs: potentials by name, and one driver around the optimisers."""

from __future__ import annotations

from .calculators import make_evaluator
from .driver import RelaxedStructure, relax, single_point

__all__ = ["RelaxedStructure", "make_evaluator", "relax", "single_point"]
