"""Settings of a search, validated once at the edge. They have no defaults: those are in the protocols."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from ase.data import atomic_numbers, chemical_symbols
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from .composition import FormulaUnit, parse_composition
from .errors import InputError
from .generators import GNOA, check_generator
from .generators.space_groups import parse_space_groups
from .molecular import LEAST_VOLUME, box_edge, molecular_volume
from .radii import module_size, resolve_radii

N_MOVES = 14
"""Number of moves of basin hopping (paper section 2.2)."""

MAX_ATOMS_LIMIT = 1000
"""Most atoms per cell that a search may be asked for."""

MAX_TRIALS = 10_000
"""Most trials of one generation: they are proposed in one step and are one file."""

MAX_ENERGY = 1000.0
"""Largest energy that a setting may have, eV/atom; anything near it means "no limit"."""

MAX_PACKING = 100.0
"""Largest packing that a setting may have: fifty times that of the densest crystals."""

MIN_SYMPREC = 1e-6
"""Least tolerance of spglib, Å: the last digits of coordinates in files."""

MAX_WEIGHT = 1e6
"""Largest weight of a move."""

MAX_SEED = 2**63 - 1
"""Largest seed; databases hold whole numbers of 64 bits."""

MAX_ARGUMENTS_LENGTH = 10_000
"""Longest arguments of a calculator, characters of JSON."""

CHGNET = "chgnet"

PAIR = "pair"
"""Calculator that computes a library of pair potentials, which the job is given as a file."""
MEGNET = "megnet"

JOINT_LBFGS = "JointLBFGS"
"""The optimiser of this package; the others are those of ASE."""

CHGNET_MODELS = ("0.3.0", "0.2.0")
"""Models whose weights come with the chgnet package."""

CHGNET_ELEMENTS = frozenset(chemical_symbols[1:95]) - {"Po", "At", "Rn", "Fr", "Ra"}
"""Elements that CHGNet was trained with.

The models have a row for each up to plutonium, but there are 89 elements in the data (Deng et al., Nat. Mach. Intell.
2023, 5, 1031): the rows of the other five are still those that training began with.
"""

_CALCULATOR = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Energy = Annotated[float, Field(ge=0, le=MAX_ENERGY, allow_inf_nan=False)]
Symprec = Annotated[float, Field(ge=MIN_SYMPREC, le=1.0, allow_inf_nan=False)]
OxidationState = Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=MAX_WEIGHT, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**9)]
SmallCount = Annotated[int, Field(ge=1, le=1000)]
TrialCount = Annotated[int, Field(ge=1, le=MAX_TRIALS)]
LargeCount = Annotated[int, Field(ge=1, le=10**6)]


def _holds_bool(value: Any) -> bool:
    """Tell whether a value is true or false, or a collection that holds such a value."""
    if isinstance(value, Mapping):
        return any(isinstance(item, bool) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple):
        return any(isinstance(item, bool) for item in value)
    return isinstance(value, bool)


class Settings(BaseModel):
    """Base of all settings: nothing unknown, nothing changed, no truth value for a number or the reverse."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    @field_validator("*", mode="before")
    @classmethod
    def _keep_truth_values_apart(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        if field.annotation is bool:
            if not isinstance(value, bool):
                raise ValueError("must be true or false")
        elif field.annotation != dict[str, Any] and not _is_settings(field.annotation) and _holds_bool(value):
            raise ValueError("must not hold true or false")
        return value


def _is_settings(annotation: Any) -> bool:
    """Tell whether a field holds settings, which look at their own fields."""
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def _check_symprecs(value: tuple[float, float]) -> tuple[float, float]:
    tight, loose = value
    if tight > loose:
        raise ValueError("give the tight tolerance first, then the loose one")
    return value


Symprecs = Annotated[tuple[Symprec, Symprec], AfterValidator(_check_symprecs)]
"""Tight and loose tolerance of spglib, Å."""


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
        description="How moves 13 and 14 take structures from a pool: best first, or at random."
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
    generator: str = Field(description="Fills the initial population and the pool: symmetric, gnoa, fgen or provided.")
    random_generator: Literal["fgen"] = Field(
        description="Makes missing structures and, with equal chance, those of moves 13 and 14."
    )
    pool: PoolSettings
    gnoa: GnoaSettings
    move_weights: dict[int, Weight] = Field(description="Weight of each move, 1 to 14.")
    melted_move_weights: dict[int, Weight] | None = Field(
        description="Weights for a melted walker; none: as move_weights."
    )
    exclusion: Positive = Field(le=5.0, description="A place further than this from every atom is vacant, Å.")
    max_attempts: TrialCount = Field(
        description="Failed attempts at a trial after which the walker takes a new structure instead (move 14: of the "
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

    @field_validator("move_weights", "melted_move_weights")
    @classmethod
    def _sound_weights(cls, weights: dict[int, float] | None) -> dict[int, float] | None:
        if weights is None:
            return None
        unknown = sorted(set(weights) - set(range(1, N_MOVES + 1)))
        if unknown:
            raise ValueError(f"moves are numbered 1 to {N_MOVES}; there is no move {unknown[0]}")
        if sum(weights.values()) <= 0:
            raise ValueError("at least one weight must be above 0")
        return weights

    @property
    def initial_limit(self) -> int:
        """Most atoms of a structure of the initial population."""
        return min(self.initial_max_atoms or self.max_atoms, self.max_atoms)


class PrerelaxSettings(Settings):
    """Pre-relaxation with repelling spheres."""

    enabled: bool = Field(description="Whether short contacts and the volume are mended first, without the potential.")
    anion_distance: NotNegative = Field(
        le=5.0, description="Least distance of two anions; other atoms touch at the sum of covalent radii, Å."
    )
    pressure: float = Field(ge=0, le=1000, description="Pressure on the spheres, GPa.")
    fmax: Positive = Field(description="Largest force, and stress times volume per atom, at its end, eV/Å.")
    max_evaluations: LargeCount = Field(description="Evaluations after which it ends in any case.")


class RelaxSettings(Settings):
    """One tier of relaxation, as a batch job on the target machine runs it."""

    calculator: str = Field(
        description="'chgnet', 'pair' for a library of pair potentials, or the import path of an ASE calculator "
        "class, e.g. 'ase.calculators.emt.EMT'."
    )
    model: str = Field(description="Version of the CHGNet model, e.g. '0.3.0'; ignored by other calculators.")
    arguments: dict[str, Any] = Field(description="Keyword arguments of an ASE calculator class.")
    device: Literal["cpu", "cuda"] = Field(description="Where the model is evaluated.")
    backend: Literal["auto", "native", "torch", "reference"] = Field(
        description="Code that computes CHGNet: the native kernel, PyTorch, the published package (reference), or the "
        "first of them that works there (auto); energies are the same. Ignored by other calculators."
    )
    optimizer: Literal["JointLBFGS", "FIRE", "FIRE2", "LBFGS", "BFGS", "BFGSLineSearch"] = Field(
        description="JointLBFGS, which is this package's own, or an optimiser of ASE."
    )
    fmax: Positive = Field(
        description="Converged when no force is longer, eV/Å, and no principal value of (stress + pressure) times "
        "volume per atom larger, eV; optimisers of ASE compare the length of its rows."
    )
    max_steps: LargeCount = Field(
        description="Evaluations of the potential (JointLBFGS) or steps (ASE) after which a relaxation has failed."
    )
    max_step_length: Positive = Field(le=1.0, description="Longest displacement of a step, Å.")
    max_step_strain: Positive = Field(
        le=0.3, description="Largest elongation of the cell in a step; JointLBFGS and the pre-relaxation only."
    )
    keep_symmetry: bool = Field(
        description="Whether the exact symmetry of the start is kept against rounding; JointLBFGS only."
    )
    prerelax: PrerelaxSettings
    pressure: float = Field(ge=-1000, le=10000, description="External pressure, GPa; enthalpy is then what counts.")
    min_contact: NotNegative = Field(
        le=1.0, description="A relaxed structure with a shorter distance, as a fraction of covalent radii, has failed."
    )
    relax_cell: bool = Field(description="Whether the cell is relaxed too.")
    processes: SmallCount | None = Field(
        description="Structures relaxed side by side in a job, one process each; as many as the job has cores if null."
    )
    threads: SmallCount = Field(description="Threads of each process in PyTorch; the native kernel uses one.")
    report_symprec: Symprecs = Field(description="Tolerances for the space groups, Å.")
    isolated_distance: Positive = Field(le=10.0, description="An atom with no neighbour within this is isolated, Å.")

    @field_validator("calculator")
    @classmethod
    def _known_kind_of_calculator(cls, value: str) -> str:
        if value not in {CHGNET, PAIR} and not _CALCULATOR.fullmatch(value):
            expected = f"'{CHGNET}', '{PAIR}' or an import path of a class, e.g. 'ase.calculators.emt.EMT'"
            raise ValueError(f"must be {expected}")
        return value

    @field_validator("model")
    @classmethod
    def _known_model(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("calculator") == CHGNET and value not in CHGNET_MODELS:
            raise ValueError(f"must be one of {', '.join(CHGNET_MODELS)}")
        return value

    @field_validator("backend")
    @classmethod
    def _device_of_backend(cls, value: str, info: ValidationInfo) -> str:
        if value == "native" and info.data.get("device") == "cuda":
            raise ValueError("the native kernel runs on the cpu only; use 'torch' for cuda")
        return value

    @field_validator("arguments")
    @classmethod
    def _plain_arguments(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Take what JSON can hold: arguments travel to the job in a file."""
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"must be plain values: numbers, texts, lists, mappings ({error})") from None
        if len(text) > MAX_ARGUMENTS_LENGTH:
            raise ValueError(f"has {len(text)} characters; at most {MAX_ARGUMENTS_LENGTH} are taken")
        return value


class TrainSettings(Settings):
    """Training of a graph network."""

    seed: int = Field(ge=0, le=MAX_SEED, description="Seed of the parts, of the order, and of new weights.")
    epochs: Count = Field(description="How often all structures are gone through.")
    batch_size: TrialCount = Field(description="Structures of one step.")
    learning_rate: Positive = Field(le=1.0, description="Of Adam.")
    validation_fraction: Annotated[float, Field(gt=0, le=0.4)] = Field(
        description="Share of the structures that decides which epoch is kept."
    )
    test_fraction: Annotated[float, Field(gt=0, le=0.4)] = Field(
        description="Share of the structures that takes no part; the error on them is reported."
    )


SettingsType = TypeVar("SettingsType", bound=Settings)


def parse_settings(model: type[SettingsType], values: Mapping[str, Any], *, where: str = "settings") -> SettingsType:
    """Validate settings.

    Args:
        model: the settings class.
        values: plain values, as from YAML or a Dict node.
        where: name of the input, for the message.

    Raises:
        InputError: for the first wrong field: its name, its value, and what would be right.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join([where, *(str(part) for part in first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        value = "(missing)" if first["type"] == "missing" else first["input"]
        raise InputError(path, value, message) from None


def check_search(settings: SearchSettings, *, where: str = "settings") -> None:
    """Check what concerns several settings together.

    Raises:
        InputError: for the first contradiction.
    """
    unit = settings.unit
    _ = settings.ap  # radii and oxidation states
    check_generator(settings.generator, where=f"{where}.generator")
    for field, value in (("max_atoms", settings.max_atoms), ("initial_max_atoms", settings.initial_limit)):
        if value < unit.n_atoms:
            raise InputError(f"{where}.{field}", value, f"one formula unit of {unit.formula} has {unit.n_atoms} atoms")
    if settings.initial_max_atoms is not None and settings.initial_max_atoms > settings.max_atoms:
        raise InputError(
            f"{where}.initial_max_atoms", settings.initial_max_atoms, f"exceeds max_atoms = {settings.max_atoms}"
        )
    if settings.pool.min_atoms > settings.initial_limit or not unit.z_values(
        settings.initial_limit, settings.pool.min_atoms
    ):
        expected = f"no multiple of {unit.n_atoms} atoms lies between it and {settings.initial_limit}"
        raise InputError(f"{where}.pool.min_atoms", settings.pool.min_atoms, expected)
    trials = settings.walkers * settings.trials_per_step
    if trials > MAX_TRIALS:
        expected = f"{trials} trials in a generation (times {settings.walkers} walkers); at most {MAX_TRIALS}"
        raise InputError(f"{where}.trials_per_step", settings.trials_per_step, expected)
    if settings.generator == GNOA:
        _check_gnoa(settings, where)
    _check_pairs(settings, unit, where)
    _check_weights(settings, unit, where)


def _check_gnoa(settings: SearchSettings, where: str) -> None:
    from .generators.gnoa.units import check_gnoa  # which needs the settings

    unknown = [s for s in settings.unit.elements if s not in CHGNET_ELEMENTS]
    if settings.gnoa.network == CHGNET and unknown:
        expected = f"CHGNet does not know {', '.join(unknown)} of {settings.unit.formula}; take another network"
        raise InputError(f"{where}.gnoa.network", CHGNET, expected)
    check_gnoa(settings, where=where)


def _check_pairs(settings: SearchSettings, unit: FormulaUnit, where: str) -> None:
    seen: set[tuple[str, ...]] = set()
    for pair, value in settings.validity.min_distances.items():
        parts = pair.split("-")
        if len(parts) != 2 or any(p not in atomic_numbers or p not in unit.elements for p in parts):
            expected = f"name two elements of {unit.formula}, e.g. '{unit.elements[0]}-{unit.elements[-1]}'"
            raise InputError(f"{where}.validity.min_distances[{pair}]", value, expected)
        ordered = tuple(sorted(parts))
        if ordered in seen:
            raise InputError(f"{where}.validity.min_distances[{pair}]", value, "this pair is given twice")
        seen.add(ordered)


def _check_weights(settings: SearchSettings, unit: FormulaUnit, where: str) -> None:
    """A search in which no weighted move can ever be used would propose nothing but new structures."""
    never: dict[int, str] = {}
    if unit.is_element:
        never |= dict.fromkeys((1, 3, 5), "for an element")
    for number, times in ((11, 2), (12, 3)):
        if times * unit.n_atoms > settings.max_atoms:
            never[number] = f"with at most {settings.max_atoms} atoms"
    for field in ("move_weights", "melted_move_weights"):
        weights: dict[int, float] | None = getattr(settings, field)
        used = [number for number, weight in sorted((weights or {}).items()) if weight > 0]
        if used and all(number in never for number in used):
            reasons = "; ".join(f"move {number} cannot be used {never[number]}" for number in used)
            raise InputError(f"{where}.{field}", weights, f"{reasons}; give another move a weight above 0")
