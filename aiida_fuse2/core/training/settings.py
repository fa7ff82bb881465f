"""Settings of training a graph network."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
)

from aiida_fuse2.core.settings import MAX_SEED, Count, Positive, Settings, TrialCount


class TrainSettings(Settings):
    """Training of a graph network."""

    seed: int = Field(
        ge=0,
        le=MAX_SEED,
        description="Seed of the choice of structures, of their parts, of their order, and of new weights.",
    )
    structures: Annotated[int, Field(ge=10, le=10_000_000)] | None = Field(
        description="Number of structures, drawn at random by the seed; if null, or if there are fewer, all."
    )
    epochs: Count = Field(description="Number of passes over all structures.")
    batch_size: TrialCount = Field(description="Number of structures in one step.")
    learning_rate: Positive = Field(le=1.0, description="Learning rate of the optimiser Adam.")
    validation_fraction: Annotated[float, Field(gt=0, le=0.4)] = Field(
        description="Fraction of the structures that decides which epoch is kept."
    )
    test_fraction: Annotated[float, Field(gt=0, le=0.4)] = Field(
        description="Fraction of the structures that takes no part; the error on them is reported."
    )
