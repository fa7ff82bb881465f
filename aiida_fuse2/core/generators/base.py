"""What every generator has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from ase import Atoms

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.settings import SearchSettings

SCORE = "score"
"""Key of ``Atoms.info`` with the energy by which a generator of pools orders its structures, eV/atom."""


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


class Generator(ABC):
    """What all generators have. They have no state: everything random comes from what they are passed.

    Attributes:
        name: what people type; that of the entry point where another package brings it.
        in_process: whether a search needs no job to fill its pool: it makes the structures when it needs them.
        makes_structures: whether it makes any; if not, they are the user's.
    """

    name: ClassVar[str]
    in_process: ClassVar[bool] = False
    makes_structures: ClassVar[bool] = True

    def check(self, settings: SearchSettings, *, where: str) -> None:  # noqa: B027 - most need nothing
        """Check that something can be generated.

        Args:
            settings: of the search.
            where: path of the settings, for the message.

        Raises:
            InputError: where settings leave nothing to generate, or the composition does not suit.
        """

    def needs_weights(self, settings: SearchSettings) -> bool:  # noqa: ARG002 - most need none
        """Return whether a pool job needs the weights of a network as an input."""
        return False

    def citations(self, settings: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 - the same for all settings
        """Return the works to cite where a search has used it.

        Args:
            settings: of the search, as they are stored.
        """
        return ()


class SingleGenerator(Generator):
    """Makes one structure at a time."""

    @abstractmethod
    def __call__(self, context: GeneratorContext, rng: np.random.Generator) -> Atoms:
        """Return one structure of the composition within the atom limits.

        Raises:
            GenerationError: where this attempt gave none; the reason is counted.
        """


@dataclass(frozen=True, kw_only=True)
class PoolContext:
    """The pool that is made.

    Attributes:
        settings: of the search.
        limit: most atoms of a structure.
        number: how many pools the search has filled before; part of the random key.
        weights: file of a network's weights, where it needs one.
    """

    settings: SearchSettings
    limit: int
    number: int
    weights: Path | None = None


class Piece(Protocol):
    """A piece of work of a pool."""

    @property
    def key(self) -> str:
        """Name, unique in a pool."""

    @property
    def cost(self) -> float:
        """How long it takes compared with others: the longest begin first."""


@dataclass(frozen=True)
class PieceResult:
    """What came of a piece of work.

    Attributes:
        structures: best first; ``info`` has ``SCORE`` and what else is to be known of each.
        counts: what is told in the summary, as plain values; ``cpu_seconds`` among them.
    """

    structures: list[Atoms] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)


class PoolGenerator(Generator):
    """Makes whole pools, in pieces that do not know of each other.

    A job computes the pieces side by side, keeps what is finished in its checkpoint, and orders the structures by
    their score. Results must depend neither on the order of the pieces nor on how many are computed at a time.
    """

    @abstractmethod
    def plan(self, pool: PoolContext) -> Sequence[Piece]:
        """Return the pieces of work of a pool."""

    def prepare(self, pool: PoolContext) -> None:
        """Load what all pieces need, once in each process.

        Raises:
            InputError: where it is missing.
        """

    @abstractmethod
    def run(self, piece: Any, pool: PoolContext) -> PieceResult:
        """Return what came of a piece; nothing but the arguments decides it, CPU time excepted."""

    @abstractmethod
    def lost(self, reason: str) -> PieceResult:
        """Return the result of a piece that killed or blocked its process.

        Args:
            reason: short fixed identifier.
        """

    @abstractmethod
    def summary(self, pool: PoolContext, counts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return what is told of a pool, as plain values: ``tried`` and what else is to be known.

        Args:
            pool: that is made.
            counts: of ``PieceResult``, by key of the piece, in the order of the plan.
        """
