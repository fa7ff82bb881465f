"""Potentials computed by this package itself, from published parameters; as calculators of ASE, too."""

from __future__ import annotations

from .calculators import ChgnetCalculator, EvaluatorCalculator, MegnetCalculator, PairCalculator

__all__ = ["ChgnetCalculator", "EvaluatorCalculator", "MegnetCalculator", "PairCalculator"]
