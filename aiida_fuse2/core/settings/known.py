"""Settings with what is known of a structure before it is predicted."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from .base import Positive, Settings, SmallCount
from .space_groups import parse_space_groups

MAX_TOLERANCE = 0.5
"""Largest relative tolerance of a density; a structure is then given half or twice as much room."""


class KnownSettings(Settings):
    """What is known of the structure, for instance from a powder pattern; what is null is not known."""

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
        """Accept a single number, and a text such as ``2,4``, as people write them."""
        if isinstance(value, str):
            return [part.strip() for part in value.split(",")]
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
        return self.space_groups is None and self.z is None and self.density is None


NOTHING = KnownSettings(space_groups=None, z=None, density=None, density_tolerance=0.0)
"""Settings of those who know nothing."""
