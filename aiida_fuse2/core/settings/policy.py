"""Settings of the policy that learns which generator, move and size pay."""

from __future__ import annotations

from pydantic import Field

from .base import NotNegative, Settings


class BanditSettings(Settings):
    """How fast the policy learns and forgets, and what counts as a success."""

    discount: float = Field(
        gt=0, le=1, description="Factor by which what was learned fades with each trial of its kind; 1: it never does."
    )
    floor: float = Field(
        gt=0,
        le=1,
        description="Fraction of its chance in the fixed policy that each generator, move and size keeps at least.",
    )
    window: NotNegative = Field(
        le=1.0,
        description="Largest energy above the best of a success, as a fraction of the distance from the best to the "
        "median of the new structures.",
    )
