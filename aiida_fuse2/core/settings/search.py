"""Settings of a search, validated once on input. Their defaults are in the protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
)

from aiida_fuse2.core.chemistry.composition import FormulaUnit, parse_composition
from aiida_fuse2.core.chemistry.molecular import LEAST_VOLUME, box_edge, molecular_volume
from aiida_fuse2.core.chemistry.radii import module_size, resolve_radii

from .base import (
    CHGNET,
    CHGNET_MODELS,
    MAX_ATOMS_LIMIT,
    MAX_PACKING,
    MAX_SEED,
    MAX_TRIALS,
    Count,
    Energy,
    LargeCount,
    NotNegative,
    OxidationState,
    Positive,
    Settings,
    SmallCount,
    Symprec,
    Symprecs,
    TrialCount,
)
from .known import KnownSettings
from .policy import BanditSettings
from .space_groups import parse_space_groups
from .starts import shares_of_text, shares_text

RandomGenerator = Literal["fgen", "fgen_paper", "symmetric"]
"""Generators of missing structures: they need no job, and are random enough to be drawn any number of times."""

MAX_WEIGHT = 1e6
"""Largest weight of a move, and share of a generator."""

Weight = Annotated[float, Field(ge=0, le=MAX_WEIGHT, allow_inf_nan=False)]

Share = Annotated[float, Field(gt=0, le=MAX_WEIGHT, allow_inf_nan=False)]


class ValiditySettings(Settings):
    """When a trial structure is plausible enough to be relaxed."""

    contact_factor: NotNegative = Field(
        le=1.0, description="Shortest distance of two atoms as a fraction of the sum of their radii."
    )
    min_distances: dict[str, NotNegative] = Field(
        description="Shortest distances set by the user, by pair of elements, e.g. {'Sr-O': 1.8}, Å."
    )
    packing_min: NotNegative = Field(description="Smallest volume of covalent spheres over volume of the cell.")
    packing_max: Positive = Field(
        le=MAX_PACKING, description="Largest volume of covalent spheres over volume of the cell."
    )
    bond_factor: Positive = Field(
        le=3.0, description="Largest distance of neighbours, as a multiple of the sum of covalent radii."
    )
    coordination_min: int = Field(ge=0, description="Smallest number of neighbours of an atom.")
    coordination_max: SmallCount = Field(description="Largest number of neighbours of an atom.")
    isolated_distance: Positive = Field(
        le=10.0, description="Distance within which an atom must have a neighbour, else it is isolated, Å."
    )

    @field_validator("packing_max", "coordination_max")
    @classmethod
    def _above_the_least(cls, value: float, info: ValidationInfo) -> float:
        name = str(info.field_name).replace("_max", "_min")
        least = info.data.get(name, 0)
        if value < least or (value == least and name == "packing_min"):
            raise ValueError(f"must be above {name} = {least}")
        return value

    @field_validator("isolated_distance")
    @classmethod
    def _beyond_least_distances(cls, value: float, info: ValidationInfo) -> float:
        for pair, least in info.data.get("min_distances", {}).items():
            if least > value:
                raise ValueError(f"must not be below min_distances[{pair}] = {least}")
        return value


class AcceptanceSettings(Settings):
    """Metropolis criterion and melting."""

    energy_tolerance: Energy = Field(description="Largest difference of energies within one basin, eV/atom.")
    temperature: Energy = Field(description="Temperature T of the Metropolis criterion exp(-ΔE/T), eV/atom.")
    melt_threshold: Count = Field(
        description="Number of structures of a walker without a downhill step before it melts."
    )
    restart_threshold: Count | None = Field(
        description="Number of structures of a walker without a downhill step before it begins anew, from one of the "
        "lowest structures that no walker holds or from a new one; so does a walker that holds the structure of "
        "another. If null, never."
    )
    melt_step: Energy = Field(
        description="Largest rise in temperature of a melted walker per rejected step, eV/atom; uniform from 0."
    )


class SymmetrySettings(Settings):
    """Symmetrising, rattling and relaxing again."""

    symmetrise: bool = Field(
        description="Whether trials are moved onto their symmetry before they are rattled and relaxed."
    )
    symprec: Symprec = Field(description="Tolerance for symmetrising trials and finding cells, Å.")
    rattle: NotNegative = Field(le=0.5, description="Width of the random displacements after symmetrising, Å.")
    rattle_window: Energy = Field(
        description="Energy above the best within which a new structure is rattled and relaxed again, eV/atom."
    )
    rattle_copies: NotNegative = Field(le=0.5, description="Width of the random displacements of a rattled copy, Å.")
    rattle_doubled: bool = Field(
        description="Whether doubled cells that symmetry does not make equivalent are rattled too."
    )
    max_followups: int = Field(ge=0, le=MAX_TRIALS, description="Largest number of rattled copies of a generation.")
    report_symprec: Symprecs = Field(
        description="Tight and loose tolerance for the space groups of relaxed structures, Å."
    )


class UniquenessSettings(Settings):
    """When two relaxed structures count as the same."""

    energy_window: Energy = Field(description="Largest difference of energies of equal structures, eV/atom.")
    stol: Positive = Field(
        le=1.0, description="Largest rms displacement of equal structures over (volume per atom)^(1/3)."
    )
    skip_known: bool = Field(
        description="Whether a trial that equals a relaxed structure is recorded as its duplicate and not relaxed."
    )


class TargetSettings(Settings):
    """Targets: known structures that a search looks for."""

    stop: bool = Field(description="Whether the search ends after the generation in which a target is found.")
    relax: bool = Field(
        description="Whether the targets are relaxed first, like trials, in one more job: their energies are then "
        "known, and structures are compared with the relaxed targets."
    )
    stol: Positive = Field(
        le=1.0,
        description="Largest rms displacement from a target, over (volume per atom)^(1/3), of a structure that is it.",
    )


class PoolSettings(Settings):
    """How a generator that runs as a job fills the pool."""

    size: LargeCount = Field(
        description="Number of structures that a pool job makes; each generator makes its share of them, rounded up."
    )
    max_attempts_factor: TrialCount = Field(
        description="Largest number of attempts of a pool job, as a multiple of its size."
    )
    min_atoms: Count = Field(description="Smallest number of atoms of a generated structure.")
    ranking: Literal["none", "single", "relaxed"] = Field(
        description="Order of the structures of a pool job: as the generator gives them (none; gnoa: by the network's "
        "energy), or by the energy in a potential, of the structure as it is (single) or relaxed (relaxed). "
        "The potential is that of `ranking`, or else of the last tier that the worker computes without a library. A "
        "structure that cannot be computed is dropped."
    )
    draw: Literal["rank", "random"] = Field(
        description="How moves take structures from a pool: best first (rank), or at random (random)."
    )
    processes: SmallCount | None = Field(
        description="Number of processes of a pool job; if null, one per core. The pool does not depend on it."
    )


class GnoaSettings(Settings):
    """The generator gnoa: a graph network and an optimiser."""

    network: Literal["chgnet", "megnet"] = Field(
        description="Graph network that predicts energies: chgnet, whose weights come with its package, or megnet, "
        "whose weights are an input."
    )
    model: str = Field(description="Version of the CHGNet model; ignored by megnet.")
    optimizer: Literal["random", "swarm", "tpe"] = Field(
        description="Optimiser of structures: random search, particle swarm (swarm), or Bayesian optimisation (tpe)."
    )
    space_groups: str = Field(
        description="Numbers of the space groups to draw from: '1' (no symmetry, as in the paper), '2-230', "
        "'16-74, 225'."
    )
    formula_units: tuple[SmallCount, SmallCount] | None = Field(
        description="Smallest and largest number of formula units in a cell, e.g. [1, 8]; if null, all that fit the "
        "atom limits."
    )
    trials_per_z: LargeCount = Field(
        description="Number of structures proposed for each number of formula units, penalised ones included."
    )
    history: TrialCount = Field(
        description="Number of structures proposed for one space group and Wyckoff assignment, before others are drawn."
    )
    keep: TrialCount = Field(
        description="Largest number of structures kept of each space group and Wyckoff assignment."
    )
    contact_factor: Positive = Field(
        le=1.0,
        description="Shortest distance of two atoms as a fraction of the sum of their radii; below it is penalised.",
    )
    max_gap: Positive = Field(description="Largest thickness of a slab without atoms, Å; above it is penalised.")

    @field_validator("model")
    @classmethod
    def _known_model(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("network") == CHGNET and value not in CHGNET_MODELS:
            raise ValueError(f"must be one of {', '.join(CHGNET_MODELS)}")
        return value

    @field_validator("space_groups", mode="before")
    @classmethod
    def _one_number(cls, value: Any) -> Any:
        """Accept a single number, which YAML does not read as a text."""
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("space_groups")
    @classmethod
    def _are_space_groups(cls, value: str) -> str:
        parse_space_groups(value)
        return value

    @field_validator("formula_units")
    @classmethod
    def _fewest_first(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError("give the smallest number first, then the largest")
        return value


class PrototypeSettings(Settings):
    """The generator prototypes: the composition in known structure types."""

    screen: TrialCount = Field(
        description="Largest number of decorated prototypes that are screened; of more, the chemically most similar."
    )
    scales: tuple[Annotated[float, Field(ge=0.5, le=2.0, allow_inf_nan=False)], ...] = Field(
        min_length=1,
        max_length=20,
        description="Lengths of the lattice at which the energy is computed, relative to those in which the covalent "
        "spheres fill as much as in the prototype.",
    )
    leave_out: Literal["none", "compound", "type"] = Field(
        description="Prototypes that are not used, to measure what a library gives without the answer in it: those of "
        "the same reduced formula (compound), also all that are one type with one of them (type), or none."
    )


class CompositionSettings(Settings):
    """A composition, the radii of its atoms, the size of its structures, and the seed."""

    composition: str = Field(description="Formula of the composition, e.g. 'SrTiO3'.")
    seed: int = Field(ge=0, le=MAX_SEED, description="Seed of every random decision.")
    oxidation_states: dict[str, OxidationState] | None = Field(description="Oxidation state by element, or null.")
    radii: dict[str, Positive] = Field(description="Radii set by the user, by element, Å.")
    max_atoms: Annotated[int, Field(ge=1, le=MAX_ATOMS_LIMIT)] = Field(
        description="Largest number of atoms of a structure."
    )

    @property
    def unit(self) -> FormulaUnit:
        """The formula unit."""
        return parse_composition(self.composition)

    @property
    def resolved_radii(self) -> dict[str, float]:
        """Radius of each element, Å."""
        return resolve_radii(self.unit, overrides=self.radii, oxidation_states=self.oxidation_states)

    @property
    def ap(self) -> float:
        """Module size, Å; from the volumes of molecules if spheres would be too small, unless the user gave radii.

        Raises:
            InputError: if radii or oxidation states contradict the composition.
        """
        edge = module_size(self.unit, self.resolved_radii, self.oxidation_states)
        if self.radii or self.oxidation_states:
            return edge
        molecular = molecular_volume(self.unit)
        return max(edge, box_edge(LEAST_VOLUME)) if molecular is None else box_edge(molecular)


class SearchSettings(CompositionSettings):
    """Everything that decides what a search proposes, keeps and accepts."""

    version: Literal[4] = Field(
        description="Version of these settings; settings that an earlier version stored are migrated."
    )
    initial_max_atoms: Annotated[int, Field(ge=1, le=MAX_ATOMS_LIMIT)] | None = Field(
        description="Largest number of atoms of a structure of the initial population; if null, max_atoms."
    )
    population_size: TrialCount = Field(description="Number of structures of the initial population.")
    walkers: SmallCount = Field(description="Number of walkers (basin-hopping chains).")
    trials_per_step: TrialCount = Field(description="Number of trials that a walker proposes in a step.")
    max_structures: Count = Field(description="Budget: number of relaxations of the search, failed ones included.")
    max_cpu_hours: Positive | None = Field(
        description="Budget: CPU time of the relaxations, h; checked between generations. If null, no limit."
    )
    max_wall_hours: Positive | None = Field(
        description="Budget: time since the search was submitted, h; checked between generations. If null, no limit."
    )
    min_free_disk: NotNegative = Field(
        description="Free disk space for AiiDA's data below which the search ends, GB; checked between generations."
    )
    finish: int = Field(
        ge=0,
        le=1000,
        description="Number of best structures among which the phases are found at the end; 0 leaves them as relaxed.",
    )
    rmax: Count = Field(description="Number of structures without a new best after which the search ends.")
    stop_chance: Annotated[float, Field(ge=1e-9, lt=1)] | None = Field(
        description="Mean chance that a random structure since the last new best was lower, e.g. 0.005: once it is "
        "below that with stop_confidence, the search ends; checked between generations. If null, it does not."
    )
    stop_confidence: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="Confidence of statements on the chance of a lower structure."
    )
    starts: dict[str, Share] = Field(
        description="Generators of the initial population and the pool, each with its share, e.g. {fgen: 3, gnoa: 1}: "
        "prototypes, symmetric, gnoa, fgen, fgen_paper, provided or a plugin's. Shares are relative; a name alone has "
        "all of it."
    )
    random_generator: RandomGenerator = Field(
        description="Generator of missing structures and, with equal chance as the pool, of moves that draw from it."
    )
    pool: PoolSettings
    known: KnownSettings
    gnoa: GnoaSettings
    prototypes: PrototypeSettings
    move_weights: dict[str, Weight] = Field(
        description="Weight of each move by its name, e.g. {1: 2, 5: 1}; a move that is not named is not used."
    )
    melted_move_weights: dict[str, Weight] | None = Field(
        description="Weight of each move for a melted walker; if null, move_weights."
    )
    exclusion: Annotated[Positive, Field(le=5.0)] | None = Field(
        description="Distance from every atom above which a site is vacant, Å; a number also keeps all moves as they "
        "are in the paper. If null, a site is vacant for an atom without short contacts there, and moves avoid those."
    )
    policy: Literal["fixed", "bandit"] = Field(
        description="How generators, moves and sizes of trials are chosen: by their weights alone (fixed, as in the "
        "paper), or also by what the search has learned of their successes (bandit)."
    )
    bandit: BanditSettings
    max_attempts: TrialCount = Field(
        description="Number of failed attempts at a trial with one move, or at a new structure with one size, after "
        "which another is drawn.",
    )
    new_share: float = Field(
        ge=0,
        lt=1,
        description="Share of the walkers' trials that are new structures, of the generators in their shares, and not "
        "made by a move.",
    )
    size_bias: NotNegative = Field(
        le=10.0,
        description="Preference for small cells: a new structure has Z formula units with a chance proportional to "
        "Z^-size_bias; 0 for equal chances.",
    )
    relax_jobs: SmallCount = Field(
        description="Largest number of relaxation jobs that run side by side in a generation."
    )
    job_seconds: NotNegative = Field(
        description="CPU time that a relaxation job should need, estimated from earlier structures, s; if there is "
        "less to do, fewer jobs run side by side."
    )
    job_attempts: SmallCount = Field(
        description="Number of jobs that may die on a structure before it is given up, or on a pool before it "
        "stays empty."
    )
    acceptance: AcceptanceSettings
    symmetry: SymmetrySettings
    uniqueness: UniquenessSettings
    target: TargetSettings
    validity: ValiditySettings

    @field_validator("starts", mode="before")
    @classmethod
    def _of_text(cls, starts: Any) -> Any:
        """Accept names, with their shares, as a text, as people write them."""
        return shares_of_text(starts) if isinstance(starts, str) else starts

    @field_validator("starts")
    @classmethod
    def _at_least_one(cls, starts: dict[str, float]) -> dict[str, float]:
        if not starts:
            raise ValueError("name at least one generator, e.g. {fgen: 1}")
        return starts

    @field_validator("move_weights", "melted_move_weights", mode="before")
    @classmethod
    def _named(cls, weights: Any) -> Any:
        """Convert the numbers of the paper's moves, which YAML reads as numbers, to names."""
        if not isinstance(weights, Mapping):
            return weights
        return {str(key) if type(key) is int else key: weight for key, weight in weights.items()}

    @field_validator("move_weights", "melted_move_weights")
    @classmethod
    def _sound_weights(cls, weights: dict[str, float] | None) -> dict[str, float] | None:
        if weights is not None and sum(weights.values()) <= 0:
            raise ValueError("at least one weight must be above 0")
        return weights

    @property
    def starts_text(self) -> str:
        """The generators of the starting structures with their shares, for people."""
        return shares_text(self.starts)

    @property
    def initial_limit(self) -> int:
        """Largest number of atoms of a structure of the initial population."""
        return min(self.initial_max_atoms or self.max_atoms, self.max_atoms)
