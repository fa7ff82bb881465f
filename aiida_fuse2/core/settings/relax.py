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
"""Longest accepted arguments of a calculator, characters of JSON."""

JOINT_LBFGS = "JointLBFGS"
"""The optimiser of this package; the others are those of ASE."""

WEIGHTS, DEVICE = "{weights}", "{device}"
"""Arguments of a calculator that stand for the path of its weights, and for the device of the relaxation."""

_CALCULATOR = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")


class Weights(Settings):
    """Which package and which weights a potential must have where jobs run; a job that finds others refuses."""

    package: str = Field(description="Python package whose version decides the energies, e.g. 'sevenn'.")
    version: str | None = Field(description="Its version; null if it is not known.")
    module: str | None = Field(
        description="Module whose folder has the file of the weights; null for the folder of downloaded weights."
    )
    file: str | None = Field(description="File of the weights in that folder; null if there is none.")
    sha256: str | None = Field(description="SHA-256 of that file; null if it is not known.")


class RelaxSettings(Settings):
    """One tier of relaxation, as a batch job on the target machine runs it."""

    version: Literal[4] = Field(
        description="Version of these settings; settings that an earlier version stored are migrated."
    )
    calculator: str = Field(
        description="'chgnet', 'pair' for a library of pair potentials, or the import path of an ASE calculator "
        "class, e.g. 'ase.calculators.emt.EMT'."
    )
    model: str = Field(
        description="Version of the CHGNet model, e.g. '0.3.0'; of other calculators the name of the potential."
    )
    arguments: dict[str, Any] = Field(
        description="Keyword arguments of an ASE calculator class; '{weights}' stands for the path of the weights, "
        "'{device}' for the device."
    )
    weights: Weights | None = Field(
        description="Package and weights that a potential chosen by --model must have; null for others."
    )
    device: Literal["cpu", "cuda"] = Field(description="Device on which the model is evaluated.")
    backend: Literal["auto", "native", "torch", "reference"] = Field(
        description="Code that computes CHGNet: the native kernel, PyTorch, the published package (reference), or the "
        "first of them that works there (auto). Energies are the same. Ignored by other calculators."
    )
    optimizer: Literal["JointLBFGS", "FIRE", "FIRE2", "LBFGS", "BFGS", "BFGSLineSearch"] = Field(
        description="Optimiser of the relaxation: JointLBFGS, made for this package, or an optimiser of ASE."
    )
    fmax: Positive = Field(
        description="Largest force, eV/Å, and largest principal value of (stress + pressure) times volume per atom, "
        "eV, of a converged structure; optimisers of ASE compare the length of its rows instead."
    )
    max_steps: LargeCount = Field(
        description="Number of evaluations (JointLBFGS) or steps (ASE) after which a relaxation has failed."
    )
    max_step_length: Positive = Field(le=1.0, description="Longest displacement of an atom in a step, Å.")
    max_step_strain: Positive = Field(le=0.3, description="Largest elongation of the cell in a step; JointLBFGS only.")
    keep_symmetry: bool = Field(
        description="Whether the exact symmetry of the start is kept, despite rounding errors; JointLBFGS only."
    )
    pressure: float = Field(
        ge=-1000, le=10000, description="External pressure, GPa; with a pressure, enthalpies are compared."
    )
    min_contact: NotNegative = Field(
        le=1.0,
        description="Shortest distance in a relaxed structure, as a fraction of covalent radii; below it has failed.",
    )
    relax_cell: bool = Field(description="Whether the cell is relaxed too.")
    processes: SmallCount | None = Field(
        description="Number of processes of a job, each of which relaxes one structure at a time or, with PyTorch, a "
        "batch of them; if null, one per core, and one for the batches on a GPU."
    )
    threads: SmallCount = Field(description="Number of PyTorch threads in each process; the native kernel uses one.")
    batch_memory: Positive = Field(
        description="Memory of the structures that PyTorch evaluates at once, GB; on the CPU at most 0.1 are used. "
        "JointLBFGS and CHGNet only."
    )
    report_symprec: Symprecs = Field(description="Tolerances for the space groups, Å.")
    isolated_distance: Positive = Field(
        le=10.0, description="Distance within which an atom must have a neighbour, else it is isolated, Å."
    )

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
        """Accept only values that JSON can hold: the job reads the arguments from a file."""
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"must be plain values: numbers, texts, lists, mappings ({error})") from None
        if len(text) > MAX_ARGUMENTS_LENGTH:
            raise ValueError(f"has {len(text)} characters; at most {MAX_ARGUMENTS_LENGTH} are accepted")
        return value
