"""Settings of learning pair potentials. The defaults are in ``protocols/potential.yaml``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.generators import single_generator
from aiida_fuse2.core.potentials.pair.fitting import TABLE_STEP, FitWeights
from aiida_fuse2.core.settings import (
    MAX_ATOMS_LIMIT,
    CompositionSettings,
    NotNegative,
    Positive,
    Settings,
    SmallCount,
    ValiditySettings,
    Weight,
)

LONGEST_CUTOFF = 12.0
"""Largest cutoff of a learned potential, Å; twice that of the recipe."""

FewOrNone = Annotated[int, Field(ge=0, le=1000)]


class WeightSettings(Settings):
    """Weights of the residuals of the fit."""

    energy: Weight = Field(description="Weight of energies, per eV/atom.")
    force: Weight = Field(description="Weight of forces, per eV/Å.")
    stress: Weight = Field(description="Weight of stress times volume, per eV/atom.")
    large_force: Positive = Field(description="Largest force at which a frame counts half, eV/Å.")

    def to_weights(self) -> FitWeights:
        """Return the weights in the form that the fit needs."""
        return FitWeights(energy=self.energy, force=self.force, stress=self.stress, large_force=self.large_force)


class LearnSettings(CompositionSettings):
    """The data from which pair potentials of a composition are learned, and how they are fitted."""

    min_atoms: Annotated[int, Field(ge=1, le=MAX_ATOMS_LIMIT)] = Field(
        description="Smallest number of atoms of a structure."
    )
    generators: list[str] = Field(min_length=1, description="Generators of the structures, taken in turn.")
    relaxations: SmallCount = Field(description="Number of random structures that are relaxed with the teacher.")
    frames_per_relaxation: SmallCount = Field(
        description="Number of frames kept of each relaxation, more from its beginning."
    )
    random_structures: FewOrNone = Field(description="Number of further random structures, evaluated as they are.")
    rounds: FewOrNone = Field(
        description="Number of rounds: structures are relaxed with the fit, evaluated by the teacher, and added."
    )
    structures_per_round: SmallCount = Field(description="Number of structures that a round relaxes.")
    frames_per_structure: SmallCount = Field(description="Number of frames kept of each structure of a round.")
    held_out: Annotated[int, Field(ge=3, le=10_000)] = Field(
        description="Number of random structures that test the fit and are not part of it."
    )
    rattle: NotNegative = Field(le=0.5, description="Width of the displacements before a relaxation, Å.")
    cutoff: Positive = Field(le=LONGEST_CUTOFF, description="Distance from which atoms do not interact, Å.")
    knot_distance: Annotated[float, Field(ge=0.1, le=2.0)] = Field(
        description="Distance between the knots of the splines, Å."
    )
    fmax: Positive = Field(description="Force at which relaxations with the fit end, eV/Å.")
    max_steps: SmallCount = Field(description="Evaluations after which relaxations with the fit end in any case.")
    weights: WeightSettings
    validity: ValiditySettings

    @field_validator("cutoff", "knot_distance")
    @classmethod
    def _on_the_table(cls, value: float, info: ValidationInfo) -> float:
        if abs(value / TABLE_STEP - round(value / TABLE_STEP)) > 1e-6:
            raise ValueError(f"must be a multiple of {TABLE_STEP} Å, the step of the table")
        cutoff = info.data.get("cutoff")
        if info.field_name == "knot_distance" and cutoff is not None:
            intervals = cutoff / value
            if intervals < 4 or abs(intervals - round(intervals)) > 1e-6:
                raise ValueError(f"must divide the cutoff of {cutoff:g} Å into four parts or more")
        return value


def check_learning(settings: LearnSettings, *, where: str = "settings") -> None:
    """Check what concerns several settings together.

    Raises:
        InputError: for the first contradiction.
    """
    unit = settings.unit
    _ = settings.ap  # radii and oxidation states
    if settings.max_atoms < unit.n_atoms:
        expected = f"one formula unit of {unit.formula} has {unit.n_atoms} atoms"
        raise InputError(f"{where}.max_atoms", settings.max_atoms, expected)
    if not unit.z_values(settings.max_atoms, settings.min_atoms):
        expected = f"no multiple of {unit.n_atoms} atoms lies between it and {settings.max_atoms}"
        raise InputError(f"{where}.min_atoms", settings.min_atoms, expected)
    for name in settings.generators:
        single_generator(name, where=f"{where}.generators")
