"""Settings with what is known of a structure before it is predicted."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from .base import Positive, Settings, SmallCount
from .space_groups import parse_space_groups

MAX_TOLERANCE = 0.5
"""Largest relative tolerance of a density; a structure is then given half or twice as much room."""


FULL_TURN = 360.0

MAX_STRAIN = 0.1
"""Largest relative tolerance of the lengths of a cell, of which the volume has three times as much."""

Angle = Annotated[float, Field(gt=0, lt=180, allow_inf_nan=False)]


class KnownSettings(Settings):
    """What is known of the structure, for instance from a powder pattern; what is null is not known."""

    cell: tuple[Positive, Positive, Positive, Angle, Angle, Angle] | None = Field(
        description="Conventional cell: a, b, c, Å, and α, β, γ, degrees, e.g. [5.38, 5.44, 7.64, 90, 90, 90], in the "
        "standard setting. Structures are generated in it; the relaxation changes it unless relax.settings.relax_cell "
        "is false. Moves to other cells are left out."
    )
    cell_tolerance: Annotated[float, Field(ge=0, le=MAX_STRAIN, allow_inf_nan=False)] = Field(
        description="Largest relative deviation from the lengths of the cell, and from its angles in radians."
    )
    space_groups: str | None = Field(
        description="Numbers of the space groups that the structure can have, e.g. '225' or '16-74, 225'. prototypes, "
        "symmetric and gnoa obey, and gnoa.space_groups is then ignored; fgen draws no symmetry."
    )
    z: tuple[SmallCount, ...] | None = Field(
        description="Numbers of formula units that the conventional cell can have, e.g. [4]. Moves to larger cells are "
        "then left out."
    )
    density: Positive | None = Field(
        description="Density, g/cm3; generators give structures the volume that follows from it."
    )
    density_tolerance: Annotated[float, Field(ge=0, le=MAX_TOLERANCE, allow_inf_nan=False)] = Field(
        description="Largest relative deviation from the density."
    )

    @field_validator("cell")
    @classmethod
    def _has_volume(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        """Refuse angles that make no cell: each is less than the others together, and all are less than a turn."""
        if value is not None:
            angles = sorted(value[3:])
            if sum(angles) >= FULL_TURN or angles[2] >= angles[0] + angles[1]:
                raise ValueError("these angles make no cell")
        return value

    @field_validator("space_groups", mode="before")
    @classmethod
    def _one_number(cls, value: Any) -> Any:
        """Accept a single number, which YAML does not read as a text."""
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("space_groups")
    @classmethod
    def _are_space_groups(cls, value: str | None) -> str | None:
        if value is not None:
            parse_space_groups(value)
        return value

    @field_validator("z", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        """Accept a single number."""
        return (value,) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("z")
    @classmethod
    def _at_least_one(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and not value:
            raise ValueError("give at least one number, or null")
        return None if value is None else tuple(sorted(set(value)))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return self.cell is None and self.space_groups is None and self.z is None and self.density is None


NOTHING = KnownSettings(cell=None, cell_tolerance=0.0, space_groups=None, z=None, density=None, density_tolerance=0.0)
"""Settings of those who know nothing."""
