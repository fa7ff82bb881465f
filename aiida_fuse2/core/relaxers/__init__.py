"""The parts of a relaxation job: potentials by name, and one driver around the optimisers."""

from __future__ import annotations

from .calculators import evaluator_of, kernel_problem, make_evaluator
from .driver import RelaxedStructure, potential_energy, relax, single_point

__all__ = [
    "RelaxedStructure",
    "evaluator_of",
    "kernel_problem",
    "make_evaluator",
    "potential_energy",
    "relax",
    "single_point",
]
