"""The number of formula units of a new structure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def draw_z(fits: Sequence[int], bias: float, rng: np.random.Generator) -> int:
    """Return one of the numbers of formula units, Z, with a chance proportional to Z^-bias.

    Args:
        fits: numbers that fit the limits of atoms, at least one.
        bias: 0 for equal chances; above 0 small cells are preferred.
        rng: random generator.
    """
    chances = np.asarray(fits, dtype=float) ** -bias
    return int(rng.choice(fits, p=chances / chances.sum()))
