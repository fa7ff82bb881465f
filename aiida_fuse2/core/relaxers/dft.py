"""Settings of the tiers that compute with density functional theory. Their defaults are in ``protocols/tiers.yaml``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from aiida_fuse2.core.settings import Count, Positive, SmallCount

from .tiers import SingleTierSettings

OWN_TAGS = {
    "encut": "encut or encut_factor",
    "pstress": "pressure",
    "nsw": "steps_per_stage",
    "ediffg": "fmax",
    "ibrion": "overrides, e.g. {relax_settings: {algo: rd}}",
    "isif": "overrides, e.g. {relax_settings: {volume: false}}",
    "kspacing": "kspacing",
}
"""Tags of INCAR that other settings decide, and the names of these settings."""

OWN_PARAMETERS = {
    ("CONTROL", "calculation"): "nothing: atoms and cell are relaxed",
    ("CONTROL", "forc_conv_thr"): "fmax",
    ("CONTROL", "nstep"): "steps_per_stage",
    ("CELL", "press"): "pressure",
    ("CELL", "press_conv_thr"): "pressure_tolerance",
    ("SYSTEM", "nspin"): "spin_polarised",
}
"""Parameters of pw.x that other settings decide, and the names of these settings."""


class DftSettings(SingleTierSettings):
    """Common settings of these tiers, each of which runs the relax WorkChain of another plugin."""

    protocol: str = Field(min_length=1, description="Protocol of the plugin, for everything that is not set here.")
    stages: SmallCount = Field(
        description="Largest number of relaxations in a row, each with a basis set for the cell that it starts from."
    )
    hubbard: Literal["mp"] | None = Field(
        description="Hubbard U and starting moments: those of the Materials Project (mp), with U for Co, Cr, Fe, Mn, "
        "Mo, Ni, V and W in oxides and fluorides; if null, no U, and moments as in the plugin's protocol."
    )
    overrides: dict[str, Any] = Field(
        description="Overrides of the plugin's protocol, which take precedence over everything."
    )


class VaspSettings(DftSettings):
    """A relaxation with VASP through ``vasp.relax`` of aiida-vasp."""

    potential_family: str = Field(min_length=1, description="Label under which the POTCAR files were uploaded.")
    potentials: dict[str, str] = Field(
        description="POTCAR by element, e.g. {'Ti': 'Ti_sv'}; other elements use that of aiida-vasp's protocol."
    )
    encut_factor: Positive = Field(le=10.0, description="Plane-wave cutoff as a multiple of the largest ENMAX.")
    encut: Positive | None = Field(description="Plane-wave cutoff, eV; if null, encut_factor decides.")
    kspacing: Positive = Field(
        le=10.0, description="Largest distance between k points, Å⁻¹, with the factor 2π as in VASP's own KSPACING."
    )
    fmax: Positive = Field(le=10.0, description="Largest force on an atom of a relaxed structure, eV/Å.")
    steps_per_stage: SmallCount = Field(description="Largest number of ionic steps in a stage.")
    restarts: SmallCount = Field(
        description="Largest number of jobs of a stage, if jobs die or find no electronic ground state."
    )
    incar: dict[str, Any] = Field(description="Further tags of INCAR in lower case, e.g. {'ispin': 1}.")

    @field_validator("incar")
    @classmethod
    def _no_own_tags(cls, tags: dict[str, Any]) -> dict[str, Any]:
        for tag in tags:
            if tag != tag.lower():
                raise ValueError(f"{tag!r} must be in lower case")
            if tag in OWN_TAGS:
                raise ValueError(f"{tag!r} is decided by {OWN_TAGS[tag]}")
        return tags


class QeSettings(DftSettings):
    """A relaxation with Quantum ESPRESSO through ``quantumespresso.pw.relax`` of aiida-quantumespresso."""

    protocol: Literal["fast", "balanced", "stringent"] = Field(
        description="Protocol of aiida-quantumespresso, for everything that is not set here."
    )
    pseudo_family: str = Field(min_length=1, description="Label of the family of pseudopotentials.")
    kpoints_distance: Positive | None = Field(
        le=10.0,
        description="Largest distance between k points, Å⁻¹, with the factor 2π; if null, the protocol decides.",
    )
    fmax: Positive = Field(le=10.0, description="Largest component of a force in a relaxed structure, eV/Å.")
    pressure_tolerance: Positive = Field(
        le=100.0, description="Largest stress in a relaxed cell, computed again with its own basis set, GPa."
    )
    steps_per_stage: Count = Field(le=10_000, description="Largest number of ionic steps in a job.")
    restarts: SmallCount = Field(description="Largest number of jobs of a stage, if jobs die or end at their limits.")
    spin_polarised: bool = Field(
        description="Whether the calculation is spin-polarised, with initial moments guessed by the plugin; with "
        "hubbard it always is, with moments of its own."
    )
    parameters: dict[str, Any] = Field(
        description="Further parameters of pw.x by namelist in upper case, e.g. {'SYSTEM': {'ecutwfc': 60}}, Ry."
    )

    @field_validator("parameters")
    @classmethod
    def _no_own_parameters(cls, namelists: dict[str, Any]) -> dict[str, Any]:
        for name, values in namelists.items():
            if name != name.upper() or not isinstance(values, dict):
                raise ValueError(f"{name!r} must be a namelist in upper case with its parameters")
            for key in values:
                if (name, key.lower()) in OWN_PARAMETERS:
                    raise ValueError(f"{name}.{key} is decided by {OWN_PARAMETERS[name, key.lower()]}")
        return namelists
