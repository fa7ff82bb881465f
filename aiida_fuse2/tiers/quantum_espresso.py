"""The tier Quantum ESPRESSO: the relax WorkChain of aiida-quantumespresso for each structure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from aiida import orm
from aiida.engine import calcfunction
from ase import units

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.relaxers.dft import QeSettings
from aiida_fuse2.protocols import merge

from .base import TierInputs, settings_of
from .correlation import hubbard_u, manifold, moments
from .dft import KBAR_PER_GPA, WALL_TIME, DftTier, missing_package

try:
    from aiida_pseudo.groups.family import PseudoPotentialFamily
    from aiida_quantumespresso.common.types import SpinType
    from aiida_quantumespresso.data.hubbard_structure import HubbardStructureData
    from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain

    MISSING = None
except ImportError:  # a search that has used it can still be shown
    PseudoPotentialFamily = SpinType = HubbardStructureData = PwRelaxWorkChain = None
    MISSING = missing_package("aiida-quantumespresso", "qe")

QE = "qe"
"""Name of the tier and of its code."""

NAMESPACES = ("base_init_relax", "base_relax")
"""Relaxations of ``quantumespresso.pw.relax``: a coarse one, then those of the stages."""

REASONS = {400: "step_limit"}
"""Reasons of the exit statuses of ``quantumespresso.pw.relax``; its others only say that a job failed."""

JOB_REASONS = {
    302: "qe_not_started",
    303: "qe_crashed",
    305: "qe_crashed",
    310: "qe_crashed",
    311: "qe_crashed",
    312: "qe_crashed",
    320: "qe_crashed",
    340: WALL_TIME,
    350: "output_unreadable",
    400: WALL_TIME,
    410: "scf_not_converged",
    463: "scf_not_converged",
    500: "step_limit",
    501: "residual_forces",
    502: "step_limit",
    503: "qe_crashed",
    510: "scf_not_converged",
    511: "scf_not_converged",
    520: "step_limit",
    521: "scf_not_converged",
}
"""Reasons of the exit statuses of the last job."""


def pseudo_family(settings: QeSettings, elements: Collection[str], *, where: str) -> PseudoPotentialFamily:
    """Return the family of pseudopotentials.

    Raises:
        InputError: if there is none, or it lacks an element.
    """
    label = settings.pseudo_family
    query = orm.QueryBuilder().append(PseudoPotentialFamily, project=["*", "label"])
    families = {name: family for family, name in query.all()}
    if label not in families:
        expected = f"no such family of pseudopotentials; there are: {', '.join(sorted(families)) or 'none'}. "
        raise InputError(f"{where}.pseudo_family", label, expected + "`aiida-pseudo install` gets one")
    family = families[label]
    missing = sorted(set(elements) - set(family.elements))
    if missing:
        raise InputError(f"{where}.pseudo_family", label, f"has no pseudopotential for {', '.join(missing)}")
    return family


def protocol_overrides(settings: QeSettings) -> dict[str, Any]:
    """Return the settings as overrides of the protocol of ``quantumespresso.pw.relax``."""
    parameters: dict[str, Any] = {
        "CONTROL": {
            "forc_conv_thr": settings.fmax / (units.Ry / units.Bohr),
            "nstep": settings.steps_per_stage,
        },
        "CELL": {"press_conv_thr": KBAR_PER_GPA * settings.pressure_tolerance},
    }
    if settings.pressure:
        parameters["CELL"]["press"] = KBAR_PER_GPA * settings.pressure
    base: dict[str, Any] = {
        "pseudo_family": settings.pseudo_family,
        "max_iterations": settings.restarts,
        "pw": {"parameters": merge(parameters, settings.parameters)},
    }
    if settings.kpoints_distance is not None:
        base["kpoints_distance"] = settings.kpoints_distance
    own = {
        "clean_workdir": False,  # the search does it, if asked to
        "max_meta_convergence_iterations": settings.stages,
        **dict.fromkeys(NAMESPACES, base),
    }
    return merge(own, settings.overrides)


def structure_with_u(structure: orm.StructureData, values: Mapping[str, float]) -> HubbardStructureData:
    """Return a structure in the form of aiida-quantumespresso, with U (Dudarev) of each element that has one, eV."""
    found = HubbardStructureData.from_structure(structure)
    for symbol, value in values.items():
        found.initialize_onsites_hubbard(symbol, manifold(symbol), value, "U", use_kinds=False)
    return found


@calcfunction
def with_hubbard_u(structure: orm.StructureData, values: orm.Dict) -> orm.StructureData:
    """Return a structure with U in the form of aiida-quantumespresso (``fuse2.with_hubbard_u``).

    Args:
        structure: structure to relax.
        values: U of each element that has one, eV.
    """
    return structure_with_u(structure, values.get_dict())


class QeTier(DftTier):
    """Quantum ESPRESSO through aiida-quantumespresso."""

    name = QE
    program = "Quantum ESPRESSO"
    citations = (
        "P. Giannozzi et al., J. Phys. Condens. Matter 29, 465901 (2017), https://doi.org/10.1088/1361-648X/aa8f79",
    )
    missing = MISSING
    settings_model = QeSettings
    codes = (QE,)
    comparable = (
        "protocol",
        "pseudo_family",
        "kpoints_distance",
        "spin_polarised",
        "hubbard",
        "parameters",
        "overrides",
        "pressure",
    )
    process_class = PwRelaxWorkChain
    plugin = "quantumespresso.pw"
    reasons = REASONS
    job_reasons = JOB_REASONS
    results_output = "output_parameters"
    structure_output = "output_structure"

    @classmethod
    def check_settings(cls, given: TierInputs, elements: Collection[str]) -> None:
        """Refuse missing pseudopotentials."""
        pseudo_family(settings_of(given, QeSettings), elements, where=f"{given.where}.settings")

    @classmethod
    def structure_to_relax(cls, given: TierInputs, structure: orm.StructureData) -> orm.StructureData:
        """Return the structure with U, if it is to be used and an element has one: it is part of it for the plugin."""
        values = hubbard_u(structure.get_symbols_set()) if settings_of(given, QeSettings).hubbard is not None else {}
        if not values:
            return structure
        if not structure.is_stored:  # nothing is submitted
            return structure_with_u(structure, values)
        return with_hubbard_u(structure, orm.Dict(values))

    @classmethod
    def protocol_arguments(cls, given: TierInputs, structure: orm.StructureData) -> dict[str, Any]:
        """Return overrides, the type of spin and the starting moments."""
        settings = settings_of(given, QeSettings)
        overrides = protocol_overrides(settings)
        if settings.hubbard is not None:
            kinds = moments(structure.get_symbols_set())
            return {"overrides": overrides, "spin_type": SpinType.COLLINEAR, "initial_magnetic_moments": kinds}
        spin = SpinType.COLLINEAR if settings.spin_polarised else SpinType.NONE
        return {"overrides": overrides, "spin_type": spin}

    @classmethod
    def job_costs(cls, job: orm.CalcJobNode) -> tuple[float, int]:
        """Return wall time and steps of a job; the plugin reads no CPU time."""
        found = job.outputs.output_parameters.get_dict() if "output_parameters" in job.outputs else {}
        steps = 0
        if "output_trajectory" in job.outputs and "energy" in job.outputs.output_trajectory.get_arraynames():
            steps = len(job.outputs.output_trajectory.get_array("energy"))  # a program that died leaves no such value
        return float(found.get("wall_time_seconds") or 0.0), steps

    @classmethod
    def values(cls, results: Mapping[str, Any], *, pressure: float, volume: float) -> dict[str, Any]:  # noqa: ARG003
        """Return the total energy of pw.x, which does not include pressure times volume."""
        version = results.get("creator_version", "")
        return {"energy": float(results["energy"]), "potential": f"pw.x {version}".strip()}
