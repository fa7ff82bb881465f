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
"""What is free in an optimisation; GULP otherwise looks for flags behind every coordinate."""

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
"""Keywords that are taken: those about optimising a crystal, so that no misspelt one is ignored."""

LEAST_WORD = 4
"""Letters of a keyword that GULP looks at."""

Tolerance = Annotated[float, Field(gt=0, le=1.0, allow_inf_nan=False)]
"""GULP takes a larger number for an exponent."""


def full_keyword(word: str) -> str | None:
    """Return the keyword that a word, perhaps cut to four letters or more, stands for."""
    for keyword in KEYWORDS:
        if len(word) >= min(LEAST_WORD, len(keyword)) and keyword.startswith(word.lower()):
            return keyword
    return None


class StageSettings(Settings):
    """One run of GULP; the next stage goes on from where it ended."""

    keywords: list[str] = Field(min_length=1, max_length=20, description="E.g. ['opti', 'conj', 'conp'].")
    maxcyc: LargeCount | None = Field(default=None, description="Most function calls; none: GULP's default, 1000.")
    stepmax: Positive | None = Field(default=None, le=100.0, description="Largest step; none: GULP's default, 1.")
    gmax: Tolerance | None = Field(default=None, description="Largest gradient component; none: GULP's default.")
    gtol: Tolerance | None = Field(default=None, description="Gradient norm; none: GULP's default.")
    ftol: Tolerance | None = Field(default=None, description="Change of the function; none: GULP's default.")
    xtol: Tolerance | None = Field(default=None, description="Change of the parameters; none: GULP's default.")

    @field_validator("keywords")
    @classmethod
    def _known_keywords(cls, words: list[str]) -> list[str]:
        full = [full_keyword(word) for word in words]
        for word, known in zip(words, full, strict=True):
            if known is None:
                raise ValueError(f"{word!r} is no keyword that is taken: {', '.join(KEYWORDS)}")
        if (OPTIMISE in full) == (SINGLE in full):
            raise ValueError(f"must hold either '{OPTIMISE}' or '{SINGLE}'")
        if OPTIMISE in full and not set(CELL_KEYWORDS) & set(full):
            raise ValueError(f"an optimisation needs one of {', '.join(CELL_KEYWORDS)}")
        if NO_ELECTROSTATICS in full:
            raise ValueError(f"'{NO_ELECTROSTATICS}' is written where electrostatics is false")
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
    """How structures are computed with GULP."""

    stages: list[StageSettings] = Field(min_length=1, max_length=10, description="Runs, one after the other.")
    electrostatics: bool = Field(description="Whether charges of the library interact; else 'noelectro' is written.")
    cutp: Positive | None = Field(
        le=100_000.0, description="Largest distance of all interatomic potentials, Å; none: that of each."
    )
    pressure: float = Field(ge=-1000, le=10000, description="External pressure, GPa; enthalpy is then what counts.")
    time_limit: Positive | None = Field(
        description="Time for a stage, s: GULP's own limit, and after twice as long on the clock it is killed. A "
        "safety stop: what it ends is not reproducible."
    )
    max_gnorm: NotNegative = Field(
        description="A relaxation that ended without reaching GULP's tolerances counts where its gradient norm is "
        "not above this."
    )
    min_contact: NotNegative = Field(
        le=1.0, description="A relaxed structure with a shorter distance, as a fraction of covalent radii, has failed."
    )
    isolated_distance: Positive = Field(le=10.0, description="An atom with no neighbour within this is isolated, Å.")
    report_symprec: Symprecs = Field(description="Tolerances for the space groups, Å.")
    processes: SmallCount = Field(description="Structures computed side by side in a job.")
    keep_outputs: Literal["all", "failed", "none"] = Field(
        description="Of which structures of a batch GULP's files are kept, in gulp.zip."
    )


def check_task(settings: GulpSettings, *, optimises: bool, where: str = "parameters") -> None:
    """Check that the stages do what the job is for.

    Raises:
        InputError: where a stage of an optimisation is a single point, or the reverse.
    """
    for index, stage in enumerate(settings.stages):
        if stage.is_optimisation != optimises:
            wanted = OPTIMISE if optimises else SINGLE
            raise InputError(f"{where}.stages.{index}.keywords", stage.keywords, f"must hold '{wanted}' in this job")


def check_charges(settings: GulpSettings, library: PairLibrary, *, where: str = "parameters") -> None:
    """Check that charges are used where there are some, and are there where they are used.

    Raises:
        InputError: where the library has charges that would not count, or none that could.
    """
    if library.has_charges != settings.electrostatics:
        has = "has charges, which would not count" if library.has_charges else "has no charges"
        expected = f"the library {has}: must be {str(library.has_charges).lower()}"
        raise InputError(f"{where}.electrostatics", settings.electrostatics, expected)
