"""The common base of all settings, and names of potentials and generators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from ase.data import chemical_symbols
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from aiida_fuse2.core.errors import InputError

MAX_ATOMS_LIMIT = 1000
"""Largest number of atoms per cell that a search accepts."""

MAX_TRIALS = 10_000
"""Largest number of trials of one generation: they are proposed in one step and are one file."""

MAX_ENERGY = 1000.0
"""Largest energy that a setting may have, eV/atom; anything near it means "no limit"."""

MAX_PACKING = 100.0
"""Largest packing that a setting may have: fifty times that of the densest crystals."""

MIN_SYMPREC = 1e-6
"""Smallest tolerance of spglib, Å: the last digits of coordinates in files."""

MAX_SEED = 2**63 - 1
"""Largest seed; databases hold whole numbers of 64 bits."""

CHGNET = "chgnet"

PAIR = "pair"
"""Calculator that computes a library of pair potentials, which the job is given as a file."""

MEGNET = "megnet"

GNOA = "gnoa"
"""Name of the generator that makes whole pools, piece by piece: see :mod:`aiida_fuse2.core.generators.gnoa`."""

PROTOTYPES = "prototypes"
"""Name of the generator of known structure types."""

PROVIDED = "provided"
"""Name instead of a generator if every starting structure comes from the user."""

CHGNET_MODELS = ("0.3.0", "0.2.0", "r2scan")
"""Models whose weights come with the chgnet package."""

CHGNET_ELEMENTS = frozenset(chemical_symbols[1:95]) - {"Po", "At", "Rn", "Fr", "Ra"}
"""Elements that CHGNet was trained with.

The models have a row for each up to plutonium, but there are 89 elements in the data (Deng et al., Nat. Mach. Intell.
2023, 5, 1031): the rows of the other five are still the random ones from the start of the training.
"""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Energy = Annotated[float, Field(ge=0, le=MAX_ENERGY, allow_inf_nan=False)]

Symprec = Annotated[float, Field(ge=MIN_SYMPREC, le=1.0, allow_inf_nan=False)]

OxidationState = Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)]

Count = Annotated[int, Field(ge=1, le=10**9)]

SmallCount = Annotated[int, Field(ge=1, le=1000)]

TrialCount = Annotated[int, Field(ge=1, le=MAX_TRIALS)]

LargeCount = Annotated[int, Field(ge=1, le=10**6)]


def _holds_bool(value: Any) -> bool:
    """Return whether a value is true or false, or a collection that holds such a value."""
    if isinstance(value, Mapping):
        return any(isinstance(item, bool) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple):
        return any(isinstance(item, bool) for item in value)
    return isinstance(value, bool)


class Settings(BaseModel):
    """Base of all settings: unknown fields are refused, values never change, and true and false are not numbers."""

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
    """Return whether a field holds settings, which check their own fields."""
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def _check_symprecs(value: tuple[float, float]) -> tuple[float, float]:
    tight, loose = value
    if tight > loose:
        raise ValueError("give the tight tolerance first, then the loose one")
    return value


Symprecs = Annotated[tuple[Symprec, Symprec], AfterValidator(_check_symprecs)]
"""Tight and loose tolerance of spglib, Å."""

SettingsType = TypeVar("SettingsType", bound=Settings)


def parse_settings(model: type[SettingsType], values: Mapping[str, Any], *, where: str = "settings") -> SettingsType:
    """Validate settings.

    Args:
        model: the settings class.
        values: plain values from YAML or a Dict node.
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
