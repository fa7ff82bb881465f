"""Settings of jobs with GULP. They have no defaults: those are in ``protocols/gulp.yaml``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.pair import PairLibrary
from aiida_fuse2.core.settings import LargeCount, NotNegative, Positive, Settings, SmallCount, Symprecs

OPTIMISE = "optimise"
SINGLE = "single"
NO_ELECTROSTATICS = "noelectrostatics"

CELL_KEYWORDS = ("conp", "conv", "cellonly")
"""Keywords for the free variables of an optimisation; without one GULP expects flags after every coordinate."""

KEYWORDS = (
    OPTIMISE,
    SINGLE,
    *CELL_KEYWORDS,
    NO_ELECTROSTATICS,
    "conjugate",
    "lbfgs",
    "dfp",
    "rfo",
    "steepest",
    "numdiag",
    "isotropic",
    "orthorhombic",
    "ocell",
    "force_minimisation",
    "norepulsive_cutoff",
    "noexclude",
    "nosymmetry",
    "verbose",
    "c6",
)
"""Accepted keywords: those about optimising a crystal, so that no misspelt keyword is ignored."""

LEAST_WORD = 4
"""Number of letters of a keyword that GULP reads."""

Tolerance = Annotated[float, Field(gt=0, le=1.0, allow_inf_nan=False)]
"""GULP reads a larger number as an exponent."""


def full_keyword(word: str) -> str | None:
    """Return the keyword that a word stands for; the word may be shortened to four letters or more."""
    for keyword in KEYWORDS:
        if len(word) >= min(LEAST_WORD, len(keyword)) and keyword.startswith(word.lower()):
            return keyword
    return None


class StageSettings(Settings):
    """One run of GULP; the next stage starts from its last geometry."""

    keywords: list[str] = Field(
        min_length=1, max_length=20, description="Keywords of the run, e.g. ['opti', 'conj', 'conp']."
    )
    maxcyc: LargeCount | None = Field(
        default=None, description="Largest number of function calls; if null, GULP's default, 1000."
    )
    stepmax: Positive | None = Field(default=None, le=100.0, description="Largest step; if null, GULP's default, 1.")
    gmax: Tolerance | None = Field(default=None, description="Largest gradient component; if null, GULP's default.")
    gtol: Tolerance | None = Field(default=None, description="Tolerance of the gradient norm; if null, GULP's default.")
    ftol: Tolerance | None = Field(
        default=None, description="Tolerance of the function value; if null, GULP's default."
    )
    xtol: Tolerance | None = Field(default=None, description="Tolerance of the parameters; if null, GULP's default.")

    @field_validator("keywords")
    @classmethod
    def _known_keywords(cls, words: list[str]) -> list[str]:
        full = [full_keyword(word) for word in words]
        for word, known in zip(words, full, strict=True):
            if known is None:
                raise ValueError(f"{word!r} is not an accepted keyword: {', '.join(KEYWORDS)}")
        if (OPTIMISE in full) == (SINGLE in full):
            raise ValueError(f"must hold either '{OPTIMISE}' or '{SINGLE}'")
        if OPTIMISE in full and not set(CELL_KEYWORDS) & set(full):
            raise ValueError(f"an optimisation needs one of {', '.join(CELL_KEYWORDS)}")
        if NO_ELECTROSTATICS in full:
            raise ValueError(f"'{NO_ELECTROSTATICS}' is written if electrostatics is false")
        return words

    @property
    def is_optimisation(self) -> bool:
        """Whether the structure is relaxed."""
        return OPTIMISE in {full_keyword(word) for word in self.keywords}

    @property
    def moves_cell(self) -> bool:
        """Whether the cell is relaxed."""
        return self.is_optimisation and "conv" not in {full_keyword(word) for word in self.keywords}


class GulpSettings(Settings):
    """Settings of computing structures with GULP."""

    stages: list[StageSettings] = Field(min_length=1, max_length=10, description="Runs of GULP, one after the other.")
    electrostatics: bool = Field(description="Whether charges of the library interact; if not, 'noelectro' is written.")
    cutp: Positive | None = Field(
        le=100_000.0, description="Cutoff of all interatomic potentials, Å; if null, each has its own."
    )
    pressure: float = Field(
        ge=-1000, le=10000, description="External pressure, GPa; with a pressure, enthalpies are compared."
    )
    time_limit: Positive | None = Field(
        description="Time limit of a stage, s: GULP's own limit; after twice this wall time it is killed. A safety "
        "stop: a result that depends on it is not reproducible."
    )
    max_gnorm: NotNegative = Field(
        description="Largest gradient norm with which a relaxation counts that ended without reaching GULP's "
        "tolerances."
    )
    min_contact: NotNegative = Field(
        le=1.0,
        description="Shortest distance in a relaxed structure, as a fraction of covalent radii; below it has failed.",
    )
    isolated_distance: Positive = Field(
        le=10.0, description="Distance within which an atom must have a neighbour, else it is isolated, Å."
    )
    report_symprec: Symprecs = Field(description="Tolerances for the space groups, Å.")
    processes: SmallCount = Field(description="Number of structures computed side by side in a job.")
    keep_outputs: Literal["all", "failed", "none"] = Field(
        description="Structures of a batch whose GULP files are kept, in gulp.zip."
    )


def check_task(settings: GulpSettings, *, optimises: bool, where: str = "parameters") -> None:
    """Check that the stages fit the job.

    Raises:
        InputError: if a stage of an optimisation is a single point, or the reverse.
    """
    for index, stage in enumerate(settings.stages):
        if stage.is_optimisation != optimises:
            wanted = OPTIMISE if optimises else SINGLE
            raise InputError(f"{where}.stages.{index}.keywords", stage.keywords, f"must hold '{wanted}' in this job")


def check_charges(settings: GulpSettings, library: PairLibrary, *, where: str = "parameters") -> None:
    """Check that charges of the library are used, and that the library has charges if they are used.

    Raises:
        InputError: if the library has charges that would not be used, or no charges that could be used.
    """
    if library.has_charges != settings.electrostatics:
        has = "has charges, which would not be used" if library.has_charges else "has no charges"
        expected = f"the library {has}: must be {str(library.has_charges).lower()}"
        raise InputError(f"{where}.electrostatics", settings.electrostatics, expected)
