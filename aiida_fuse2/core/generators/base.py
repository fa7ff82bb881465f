"""The common base of all generators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from ase import Atoms

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.chemistry.ions import anions
from aiida_fuse2.core.prototypes.library import Prototype
from aiida_fuse2.core.settings import (
    NOTHING,
    CompositionSettings,
    KnownSettings,
    RelaxSettings,
    SearchSettings,
    ValiditySettings,
)

SCORE = "score"
"""Key of ``Atoms.info`` with the energy by which a generator of pools orders its structures, eV/atom."""

PROTOTYPE = "prototype"
"""Key of ``Atoms.info`` of a decorated prototype: key of the prototype, and which element took whose place."""


@dataclass(frozen=True, kw_only=True)
class GeneratorContext:
    """The values of a search that a generator needs.

    Attributes:
        unit: the composition.
        radii: radius of each element, Å.
        ap: module size, Å.
        anions: the elements that are anions; all others count as cations.
        validity: when a structure is plausible enough to be relaxed.
        max_atoms: largest number of atoms of a structure, counted in the cell that will be relaxed.
        min_atoms: smallest number of atoms of a structure.
        known: what is known of the structure.
    """

    unit: FormulaUnit
    radii: Mapping[str, float]
    ap: float
    anions: frozenset[str]
    validity: ValiditySettings
    max_atoms: int
    min_atoms: int = 1
    known: KnownSettings = NOTHING

    @classmethod
    def of(
        cls,
        settings: CompositionSettings,
        validity: ValiditySettings,
        *,
        max_atoms: int,
        min_atoms: int = 1,
        known: KnownSettings = NOTHING,
    ) -> Self:
        """Return the context that settings give.

        Args:
            settings: settings with the composition and the radii.
            validity: when a structure is plausible enough to be relaxed.
            max_atoms: largest number of atoms of a structure.
            min_atoms: smallest number of atoms of a structure.
            known: what is known of the structure.
        """
        return cls(
            unit=settings.unit,
            radii=settings.resolved_radii,
            ap=settings.ap,
            anions=anions(settings.unit, settings.oxidation_states),
            validity=validity,
            max_atoms=max_atoms,
            min_atoms=min_atoms,
            known=known,
        )


class Generator(ABC):
    """Base of all generators. They have no state: all randomness comes from their arguments.

    Attributes:
        name: name for people; the name of the entry point if another package provides it.
        in_process: whether a search needs no job to fill its pool: it makes the structures when it needs them.
        makes_structures: whether it makes structures; if not, the user provides them.
        refills: whether each pool has other structures; if not, a search fills a pool with it once.
        needs_library: whether a pool job needs a library of prototypes.
        needs_tier: whether a pool job uses the potential that ranks, if the search has one.
    """

    name: ClassVar[str]
    in_process: ClassVar[bool] = False
    makes_structures: ClassVar[bool] = True
    refills: ClassVar[bool] = True
    needs_library: ClassVar[bool] = False
    needs_tier: ClassVar[bool] = False

    def check(self, settings: SearchSettings, *, where: str) -> None:  # noqa: B027 - most need nothing
        """Check that something can be generated.

        Args:
            settings: settings of the search.
            where: path of the settings, for the message.

        Raises:
            InputError: if settings leave nothing to generate, or the composition does not suit.
        """

    def needs_weights(self, settings: SearchSettings) -> bool:  # noqa: ARG002 - most need none
        """Return whether a pool job needs the weights of a network as an input."""
        return False

    def citations(self, settings: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 - the same for all settings
        """Return the works to cite if a search has used it.

        Args:
            settings: stored settings of the search.
        """
        return ()


class SingleGenerator(Generator):
    """Makes one structure at a time."""

    @abstractmethod
    def __call__(self, context: GeneratorContext, rng: np.random.Generator) -> Atoms:
        """Return one structure of the composition within the atom limits.

        Raises:
            GenerationError: if this attempt gave none; the reason is counted.
        """


@dataclass(frozen=True, kw_only=True)
class PoolContext:
    """The part of a pool that one generator makes.

    Attributes:
        settings: settings of the search.
        size: number of structures to make.
        limit: largest number of atoms of a structure.
        number: number of pools that the search has filled before; part of the random key.
        weights: file of a network's weights, if it needs one.
        tier: settings of the potential that ranks pools, if the generator uses it and the search has one.
        potential: text of its library of pair potentials, if it needs one.
        library: prototypes, if it needs them.
    """

    settings: SearchSettings
    size: int
    limit: int
    number: int
    weights: Path | None = None
    tier: RelaxSettings | None = None
    potential: str | None = None
    library: tuple[Prototype, ...] = ()


class Piece(Protocol):
    """A piece of work of a pool."""

    @property
    def key(self) -> str:
        """Name, unique in a pool."""

    @property
    def cost(self) -> float:
        """Relative duration: the longest pieces begin first."""


@dataclass(frozen=True)
class PieceResult:
    """The result of a piece of work.

    Attributes:
        structures: best first; ``info`` has ``SCORE`` and other values of each.
        counts: values for the summary, as plain values; ``cpu_seconds`` among them.
    """

    structures: list[Atoms] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)


class PoolGenerator(Generator):
    """Makes whole pools, in independent pieces.

    A job computes the pieces side by side, keeps finished pieces in its checkpoint, and orders the structures by
    their score. Results must depend neither on the order of the pieces nor on how many are computed at a time.
    """

    @abstractmethod
    def plan(self, pool: PoolContext) -> Sequence[Piece]:
        """Return the pieces of work of a pool."""

    def prepare(self, pool: PoolContext) -> None:
        """Load the data that all pieces need, once in each process.

        Raises:
            InputError: if they are missing.
        """

    @abstractmethod
    def run(self, piece: Any, pool: PoolContext) -> PieceResult:
        """Return the result of a piece; except for the CPU time, only the arguments decide it."""

    @abstractmethod
    def lost(self, reason: str) -> PieceResult:
        """Return the result of a piece that killed or blocked its process.

        Args:
            reason: short fixed identifier of the reason.
        """

    @abstractmethod
    def summary(self, pool: PoolContext, counts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return the summary of a pool, as plain values: ``tried`` and others.

        Args:
            pool: the pool.
            counts: counts of ``PieceResult``, by key of the piece, in the order of the plan.
        """
