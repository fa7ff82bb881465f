"""Settings of a tier of relaxation that runs as a batch job."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
)

from .base import CHGNET, CHGNET_MODELS, PAIR, LargeCount, NotNegative, Positive, Settings, SmallCount, Symprecs

MAX_ARGUMENTS_LENGTH = 10_000
"""Longest arguments of a calculator, characters of JSON."""

JOINT_LBFGS = "JointLBFGS"
"""The optimiser of this package; the others are those of ASE."""

_CALCULATOR = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")


class RelaxSettings(Settings):
    """One tier of relaxation, as a batch job on the target machine runs it."""

    version: Literal[2] = Field(description="Of the settings themselves: what an earlier one stored is migrated.")
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
    max_step_strain: Positive = Field(le=0.3, description="Largest elongation of the cell in a step; JointLBFGS only.")
    keep_symmetry: bool = Field(
        description="Whether the exact symmetry of the start is kept against rounding; JointLBFGS only."
    )
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
