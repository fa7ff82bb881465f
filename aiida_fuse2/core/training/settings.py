"""Settings of training a graph network."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
)

from aiida_fuse2.core.settings import MAX_SEED, Count, Positive, Settings, TrialCount


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
