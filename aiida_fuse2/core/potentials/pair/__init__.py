"""Pair potentials: libraries in the format of GULP, an engine that computes them, and fits to CHGNet.

The grammar, the order of the columns and the units are those of GULP's help file (``help.txt``, topics spline,
buckingham, lennard, morse, general, species, line_continuation, units; https://gulp.curtin.edu.au/help).
"""

from __future__ import annotations

from .engine import PairEvaluator
from .library import PairLibrary, PairTerm, merge_libraries
from .reading import read_library
from .writing import write_library

__all__ = ["PairEvaluator", "PairLibrary", "PairTerm", "merge_libraries", "read_library", "write_library"]
