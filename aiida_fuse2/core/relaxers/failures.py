"""Why a relaxation gave no usable energy."""

from __future__ import annotations

from enum import StrEnum

CONVERGED = "converged"
"""Status of a relaxation with a usable energy."""

KNOWN = "known"
"""Status of a trial that was not relaxed, since it equals a relaxed structure."""


class Failure(StrEnum):
    """Reason of a failed relaxation; the last one is given to a result that contradicts itself or its trial."""

    ISOLATED = "isolated_atom"
    APART = "isolated_parts"
    BAD_CELL = "cell_exploded"
    NOT_FINITE = "energy_not_finite"
    STEP_LIMIT = "step_limit"
    FUSED = "fused_atoms"
    TOO_DENSE = "too_dense"
    UNBOUND = "unbound"
    CALCULATOR = "calculator_error"
    ENERGY = "energy_impossible"
    BAD_RESULT = "bad_result"
    DIED = "process_died"
    WALL_TIME = "wall_time"


OF_THE_MACHINE = frozenset({Failure.DIED, Failure.WALL_TIME})
"""Failures that may not occur on another machine, or on another day."""
