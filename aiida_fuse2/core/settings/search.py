"""Settings of a search, validated once at the edge. They have no defaults: those are in the protocols."""

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
from .space_groups import parse_space_groups

MAX_WEIGHT = 1e6
"""Largest weight of a move."""

Weight = Annotated[float, Field(ge=0, le=MAX_WEIGHT, allow_inf_nan=False)]


class ValiditySettings(Settings):
    """When a trial structure is plausible enough to be relaxed."""

    contact_factor: NotNegative = Field(
        le=1.0, description="Least distance of two atoms as a fraction of the sum of their radii."
    )
    min_distances: dict[str, NotNegative] = Field(
        description="Own least distances by pair of elements, e.g. {'Sr-O': 1.8}, Å."
    )
    packing_min: NotNegative = Field(description="Least volume of covalent spheres over volume of the cell.")
    packing_max: Positive = Field(
        le=MAX_PACKING, description="Largest volume of covalent spheres over volume of the cell."
    )
    bond_factor: Positive = Field(
        le=3.0, description="Neighbours are nearer than this times the sum of covalent radii."
    )
    coordination_min: int = Field(ge=0, description="Least number of neighbours of an atom.")
    coordination_max: SmallCount = Field(description="Largest number of neighbours of an atom.")
    isolated_distance: Positive = Field(le=10.0, description="An atom with no neighbour within this is isolated, Å.")

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

    energy_tolerance: Energy = Field(description="Energies nearer than this are the same basin, eV/atom.")
    temperature: Energy = Field(description="T of exp(-ΔE/T), eV/atom.")
    melt_threshold: Count = Field(description="Structures of a walker without a downhill step before it melts.")
    melt_step: Energy = Field(description="A melted walker heats by U(0, this) per rejected step, eV/atom.")


class SymmetrySettings(Settings):
    """Symmetrising, rattling and relaxing again."""

    symmetrise: bool = Field(description="Move trials onto their symmetry before they are rattled and relaxed.")
    symprec: Symprec = Field(description="Tolerance for symmetrising trials and finding cells, Å.")
    rattle: NotNegative = Field(le=0.5, description="Width of the random displacements after symmetrising, Å.")
    rattle_window: Energy = Field(
        description="Structures relaxed with symmetry within this of the best are rattled and relaxed again, eV/atom."
    )
    rattle_doubled: bool = Field(description="Rattle also the doubled cells that symmetry does not make equal.")
    max_followups: int = Field(ge=0, le=MAX_TRIALS, description="Most rattled structures waiting at any time.")
    report_symprec: Symprecs = Field(
        description="Tight and loose tolerance for the space groups of relaxed structures, Å."
    )


class UniquenessSettings(Settings):
    """When two relaxed structures are the same."""

    energy_window: Energy = Field(description="Largest difference of energies, eV/atom.")
    stol: Positive = Field(le=1.0, description="Largest rms displacement over (volume per atom)^(1/3).")
    skip_known: bool = Field(
        description="Whether a trial that equals a relaxed structure is recorded as its duplicate and not relaxed."
    )


class TargetSettings(Settings):
    """Known structures that a search is to find, where it is given some."""

    stop: bool = Field(description="End the search after the generation in which a target is found.")
    relax: bool = Field(
        description="Relax the targets first, as trials are relaxed, in one more job: their energies are then known, "
        "and structures are compared with them as they are relaxed."
    )
    stol: Positive = Field(
        le=1.0,
        description="A structure is the target where the rms displacement is below this times (volume per atom)^(1/3).",
    )


class PoolSettings(Settings):
    """How a generator that runs as a job fills the pool."""

    size: LargeCount = Field(description="Structures that a pool job makes.")
    max_attempts_factor: TrialCount = Field(description="Attempts of a pool job, in multiples of its size.")
    min_atoms: Count = Field(description="Fewest atoms of a generated structure.")
    ranking: Literal["none", "single", "relaxed"] = Field(
        description="How the structures of a pool job are ordered: as the generator gives them (gnoa: by the network's "
        "energy), or by the energy of the search's potential, of the structure as it is or relaxed; one that cannot be "
        "computed is dropped."
    )
    draw: Literal["rank", "random"] = Field(
        description="How moves take structures from a pool: best first, or at random."
    )
    processes: SmallCount | None = Field(
        description="Processes of a pool job, on which the pool does not depend; as many as the job has cores if null."
    )


class GnoaSettings(Settings):
    """The generator gnoa: a graph network and an optimiser."""

    network: Literal["chgnet", "megnet"] = Field(
        description="Graph network that predicts energies: chgnet, whose weights come with its package, or megnet, "
        "whose weights are an input."
    )
    model: str = Field(description="Version of the CHGNet model; ignored by megnet.")
    optimizer: Literal["random", "swarm", "tpe"] = Field(
        description="Random search, particle swarm, or Bayesian optimisation (hyperopt's TPE)."
    )
    space_groups: str = Field(
        description="Space groups that are drawn from, by number: '1' (no symmetry, as in the paper), '2-230', "
        "'16-74, 225'."
    )
    formula_units: tuple[SmallCount, SmallCount] | None = Field(
        description="Fewest and most formula units in a cell, e.g. [1, 8]; none: all that fit the atom limits."
    )
    trials_per_z: LargeCount = Field(
        description="Structures proposed for each number of formula units, those penalised included."
    )
    history: TrialCount = Field(
        description="Structures proposed for one space group and Wyckoff assignment, before others are drawn."
    )
    keep: SmallCount = Field(description="Most structures kept of each space group and Wyckoff assignment.")
    contact_factor: Positive = Field(
        le=1.0, description="Atoms nearer than this times the sum of their radii are penalised."
    )
    max_gap: Positive = Field(description="Slabs without atoms that are thicker than this are penalised, Å.")

    @field_validator("model")
    @classmethod
    def _known_model(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("network") == CHGNET and value not in CHGNET_MODELS:
            raise ValueError(f"must be one of {', '.join(CHGNET_MODELS)}")
        return value

    @field_validator("space_groups", mode="before")
    @classmethod
    def _one_number(cls, value: Any) -> Any:
        """Take a single number, as YAML reads it."""
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
            raise ValueError("give the fewest first, then the most")
        return value


class CompositionSettings(Settings):
    """A composition, the radii of its atoms, and how large and from which seed its structures are made."""

    composition: str = Field(description="Formula, e.g. 'SrTiO3'.")
    seed: int = Field(ge=0, le=MAX_SEED, description="Seed of every random decision.")
    oxidation_states: dict[str, OxidationState] | None = Field(description="Oxidation state by element, or none.")
    radii: dict[str, Positive] = Field(description="Own radii by element, Å.")
    max_atoms: Annotated[int, Field(ge=1, le=MAX_ATOMS_LIMIT)] = Field(description="Most atoms of a structure.")

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
        """Module size, Å; from the volumes of molecules where spheres would be too small, unless radii are the user's.

        Raises:
            InputError: where radii or oxidation states contradict the composition.
        """
        edge = module_size(self.unit, self.resolved_radii, self.oxidation_states)
        if self.radii or self.oxidation_states:
            return edge
        molecular = molecular_volume(self.unit)
        return max(edge, box_edge(LEAST_VOLUME)) if molecular is None else box_edge(molecular)


class SearchSettings(CompositionSettings):
    """Everything that decides what a search proposes, keeps and accepts."""

    version: Literal[2] = Field(description="Of the settings themselves: what an earlier one stored is migrated.")
    initial_max_atoms: Annotated[int, Field(ge=1, le=MAX_ATOMS_LIMIT)] | None = Field(
        description="Most atoms of a structure of the initial population; none: as max_atoms."
    )
    population_size: TrialCount = Field(description="Structures of the initial population.")
    walkers: SmallCount = Field(description="Basin-hopping chains.")
    trials_per_step: TrialCount = Field(description="Trials that a walker proposes in a step.")
    max_structures: Count = Field(description="Budget: relaxations of the search, failed ones included.")
    max_cpu_hours: Positive | None = Field(
        description="Budget: CPU time of the relaxations, h; looked at between generations. None: no limit."
    )
    max_wall_hours: Positive | None = Field(
        description="Budget: time since the search was submitted, h; looked at between generations. None: no limit."
    )
    min_free_disk: NotNegative = Field(
        description="Space on the disk of AiiDA's data below which the search ends, GB; looked at between generations."
    )
    rmax: Count = Field(description="Stop after this many structures without a new best.")
    generator: str = Field(
        description="Fills the initial population and the pool: symmetric, gnoa, fgen, provided, or another package's."
    )
    random_generator: Literal["fgen"] = Field(
        description="Makes missing structures and, with equal chance, those of moves that draw from the pool."
    )
    pool: PoolSettings
    gnoa: GnoaSettings
    move_weights: dict[str, Weight] = Field(
        description="Weight of each move by its name, e.g. {1: 2, 5: 1}; a move that is not named is not made."
    )
    melted_move_weights: dict[str, Weight] | None = Field(
        description="Weights for a melted walker; none: as move_weights."
    )
    exclusion: Positive = Field(le=5.0, description="A place further than this from every atom is vacant, Å.")
    max_attempts: TrialCount = Field(
        description="Failed attempts at a trial after which the walker takes a new structure instead (of the "
        "pool or the random generator).",
    )
    relax_jobs: SmallCount = Field(description="Most relaxation jobs that run side by side in a generation.")
    job_seconds: NotNegative = Field(
        description="CPU time that a relaxation job should have to do, judged by the structures before, s; "
        "where there is less, fewer jobs run side by side."
    )
    job_attempts: SmallCount = Field(
        description="Jobs that may die on a structure before it is given up, or on a pool before it is left empty."
    )
    acceptance: AcceptanceSettings
    symmetry: SymmetrySettings
    uniqueness: UniquenessSettings
    target: TargetSettings
    validity: ValiditySettings

    @field_validator("move_weights", "melted_move_weights", mode="before")
    @classmethod
    def _named(cls, weights: Any) -> Any:
        """Take the paper's numbers, as YAML reads them, as the names that they are."""
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
    def initial_limit(self) -> int:
        """Most atoms of a structure of the initial population."""
        return min(self.initial_max_atoms or self.max_atoms, self.max_atoms)
