"""Settings of the answer. Their defaults are in ``protocols/finish.yaml``."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from aiida_fuse2.core.settings import Energy, LargeCount, Positive, Settings, SmallCount, Symprec


def _check_rising(value: tuple[float, ...]) -> tuple[float, ...]:
    if list(value) != sorted(set(value)):
        raise ValueError("must rise")
    return value


class AnswerSettings(Settings):
    """How a relaxed structure becomes an answer."""

    energy: Energy = Field(
        description="Largest energy of the answer above the lowest structure of its ladder, eV/atom: a difference that "
        "the potential does not resolve."
    )
    fmax: Positive = Field(description="Largest force and virial per atom of the tight relaxation, eV/Å.")
    max_evaluations: LargeCount = Field(description="Number of evaluations after which a relaxation has failed.")
    tolerances: Annotated[tuple[Symprec, ...], AfterValidator(_check_rising)] = Field(
        min_length=1, description="Tolerances at which space groups are looked for, rising, Å."
    )
    max_displacement: Positive = Field(
        le=1.0, description="Largest rms displacement of the answer from the structure relaxed without symmetry, Å."
    )
    stability_atoms: int = Field(
        ge=0,
        le=1000,
        description="Largest 2x2x2 supercell in which the stability of an answer is examined, atoms; 0 examines none.",
    )
    job_attempts: SmallCount = Field(description="Number of jobs that may die on a structure before it is given up.")
