"""The parts of a relaxation job: potentials by name, and one driver around the optimisers."""

from __future__ import annotations

from .calculators import kernel_problem, make_evaluator
from .driver import RelaxedStructure, relax, single_point

__all__ = ["RelaxedStructure", "kernel_problem", "make_evaluator", "relax", "single_point"]
