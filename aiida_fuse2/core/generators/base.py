"""What every generator has in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from ase import Atoms

from aiida_fuse2.core.chemistry.composition import FormulaUnit


@dataclass(frozen=True, kw_only=True)
class GeneratorContext:
    """What a generator needs to know of a search.

    Attributes:
        unit: the composition.
        radii: radius of each element, Å.
        ap: module size, Å.
        max_atoms: most atoms of a structure, counted in the cell that will be relaxed.
        min_atoms: fewest atoms of a structure.
    """

    unit: FormulaUnit
    radii: Mapping[str, float]
    ap: float
    max_atoms: int
    min_atoms: int = 1


class Generator(Protocol):
    """Makes trial structures. Stateless: everything random comes from the passed generator."""

    name: str

    def __call__(self, context: GeneratorContext, rng: np.random.Generator) -> Atoms:
        """Return one structure of the composition within the atom limits.

        Raises:
            GenerationError: where this attempt gave none; the reason is counted.
        """
