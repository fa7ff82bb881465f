"""The tier VASP: the relax WorkChain of aiida-vasp for each structure."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Mapping
from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent
from ase import units

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.relaxers.dft import VaspSettings
from aiida_fuse2.protocols import merge

from .base import TierInputs, settings_of
from .correlation import hubbard_u, moments
from .dft import KBAR_PER_GPA, NO_OUTPUT, DftTier, missing_package, require_known

try:
    from aiida_vasp.data.potcar import PotcarData
    from aiida_vasp.utils.opthold import RelaxOptions
    from aiida_vasp.workchains.v2.relax import VaspRelaxWorkChain
    from parsevasp.potcar import Potcar

    MISSING = None
except ImportError:  # a search that has used it can still be shown
    PotcarData = RelaxOptions = VaspRelaxWorkChain = Potcar = None
    MISSING = missing_package("aiida-vasp", "vasp")

VASP = "vasp"
"""Name of the tier and of its code."""

REASONS = {
    503: "scf_not_converged",
    504: "step_limit",
    505: "scf_not_converged",
    600: "step_limit",
    601: "residual_forces",
    700: "potential_missing",
    701: "potential_missing",
    702: "potential_missing",
    703: "input_error",
}
"""Reasons of the exit statuses of ``vasp.relax``, which passes on those of ``vasp.vasp``."""

JOB_REASONS = {
    333: "vasp_not_started",
    350: NO_OUTPUT,
    351: NO_OUTPUT,
    352: NO_OUTPUT,
    700: "vasp_not_finished",
    701: "scf_not_converged",
    702: "step_limit",
    703: "vasp_error",
    704: NO_OUTPUT,
    1002: NO_OUTPUT,
    1004: NO_OUTPUT,
    1005: "overflow",
}
"""Reasons of the exit statuses of the last job."""


def potcar_mapping(settings: VaspSettings, elements: Collection[str], *, where: str) -> dict[str, str]:
    """Return the name of the POTCAR of each element.

    Raises:
        InputError: if neither the settings nor the protocol of aiida-vasp name one.
    """
    base = VaspRelaxWorkChain._base_workchain  # noqa: SLF001 - the protocol of the inner WorkChain holds the names
    known = {**base.get_protocol_inputs(settings.protocol)["potential_mapping"], **settings.potentials}
    missing = sorted(set(elements) - set(known))
    if missing:
        raise InputError(f"{where}.potentials", settings.potentials, f"must name the POTCAR of {', '.join(missing)}")
    return {element: known[element] for element in sorted(elements)}


def check_protocol(settings: VaspSettings, *, where: str) -> None:
    """Check that aiida-vasp has a protocol for both of its WorkChains; ``fast`` of version 5.1.0 cannot be loaded.

    Raises:
        InputError: if it has none.
    """
    for chain in (VaspRelaxWorkChain, VaspRelaxWorkChain._base_workchain):  # noqa: SLF001 - as above
        try:
            chain.get_protocol_inputs(settings.protocol)
        except (ValueError, KeyError, OSError) as error:
            expected = f"aiida-vasp cannot load it for {chain.__name__} ({type(error).__name__}: {error})"
            raise InputError(f"{where}.protocol", settings.protocol, expected) from error


def potcars(settings: VaspSettings, elements: Collection[str], *, where: str) -> dict[str, Any]:
    """Return the stored POTCAR of each element.

    Raises:
        InputError: if there is no such family, or a file is not in it.
    """
    family = settings.potential_family
    if PotcarData.get_potcar_group(family) is None:
        known = sorted(group.label for group in PotcarData.get_potcar_groups())
        expected = f"no such family of POTCAR files; there are: {', '.join(known) or 'none'}. `aiida-vasp potcar "
        raise InputError(f"{where}.potential_family", family, expected + "uploadfamily` stores yours")
    mapping = potcar_mapping(settings, elements, where=where)
    found = {}
    for element, name in mapping.items():
        try:
            found.update(PotcarData.get_potcars_dict([element], family, mapping={element: name}))
        except NotExistent:
            others = sorted(PotcarData.get_full_names(family_name=family, element=element))
            expected = f"the family has no POTCAR {name!r} for {element}; it has: {', '.join(others) or 'none'}"
            raise InputError(f"{where}.potential_family", family, expected) from None
    return found


def plane_wave_cutoff(settings: VaspSettings, elements: Collection[str], *, where: str) -> float:
    """Return the plane-wave cutoff: ``encut``, or a multiple of the largest ENMAX of the POTCARs, eV.

    Raises:
        InputError: if a POTCAR is missing, or has no ENMAX.
    """
    files = potcars(settings, elements, where=where)
    if settings.encut is not None:
        return settings.encut
    largest = 0.0
    for element, node in files.items():
        text = node.get_content().decode("utf8", "replace")
        enmax = Potcar(file_handler=io.StringIO(text)).metadata.get("ENMAX")
        if enmax is None:
            expected = f"its POTCAR of {element} has no ENMAX: give encut"
            raise InputError(f"{where}.potential_family", settings.potential_family, expected)
        largest = max(largest, enmax)
    return settings.encut_factor * largest


def protocol_overrides(settings: VaspSettings, encut: float, elements: Collection[str] = ()) -> dict[str, Any]:
    """Return the settings as overrides of the protocol of ``vasp.relax``.

    A stage ends after its steps without an error, so that the WorkChain, which looks at the forces itself, continues
    with the next one; by default aiida-vasp would repeat it instead.

    Args:
        settings: settings of the tier.
        encut: plane-wave cutoff, eV.
        elements: elements of the structure.
    """
    incar = {"gga": "pe", "encut": round(encut, 3), **settings.incar}
    magnetic: dict[str, Any] = {}
    if settings.hubbard is not None:
        magnetic["magmom_mapping"] = moments(elements)
        values = hubbard_u(elements)
        if values:  # which aiida-vasp writes as LDAU, LDAUU, ... in the order of the POTCARs
            magnetic["ldau_mapping"] = {"mapping": {symbol: ["d", value] for symbol, value in values.items()}}
            incar = {"lasph": True, **incar}
    if settings.pressure:
        incar["pstress"] = KBAR_PER_GPA * settings.pressure
    own = {
        "relax_settings": {
            "force_cutoff": settings.fmax,
            "steps": settings.steps_per_stage,
            "convergence_max_iterations": settings.stages,
        },
        "vasp": {
            "potential_family": settings.potential_family,
            "potential_mapping": dict(settings.potentials),
            "kpoints_spacing": settings.kspacing / (2 * math.pi),
            "max_iterations": settings.restarts,
            **magnetic,
            "parameters": {"incar": incar},
            "settings": {
                "CHECK_IONIC_CONVERGENCE": False,
                "parser_settings": {"check_ionic_convergence": False},
            },
        },
    }
    return merge(own, settings.overrides)


class VaspTier(DftTier):
    """VASP through aiida-vasp."""

    name = VASP
    program = "VASP"
    citations = ("G. Kresse, J. Furthmüller, Phys. Rev. B 54, 11169 (1996), https://doi.org/10.1103/PhysRevB.54.11169",)
    missing = MISSING
    settings_model = VaspSettings
    codes = (VASP,)
    comparable = (
        "protocol",
        "potential_family",
        "potentials",
        "encut_factor",
        "encut",
        "kspacing",
        "hubbard",
        "incar",
        "overrides",
        "pressure",
    )
    process_class = VaspRelaxWorkChain
    plugin = "vasp.vasp"
    reasons = REASONS
    job_reasons = JOB_REASONS
    results_output = "misc"
    structure_output = "relax.structure"

    @classmethod
    def check_settings(cls, given: TierInputs, elements: Collection[str]) -> None:
        """Refuse a protocol that cannot be loaded, unknown settings of the relaxation, and missing POTCARs."""
        settings, where = settings_of(given, VaspSettings), f"{given.where}.settings"
        check_protocol(settings, where=where)
        relaxing = settings.overrides.get("relax_settings", {})
        require_known(relaxing, RelaxOptions.model_fields, where=f"{where}.overrides.relax_settings")
        potcars(settings, elements, where=where)

    @classmethod
    def protocol_arguments(cls, given: TierInputs, structure: orm.StructureData) -> dict[str, Any]:
        """Return overrides, with the plane-wave cutoff of the elements of the structure."""
        settings = settings_of(given, VaspSettings)
        elements = structure.get_symbols_set()
        encut = plane_wave_cutoff(settings, elements, where=f"{given.where}.settings")
        return {"overrides": protocol_overrides(settings, encut, elements)}

    @classmethod
    def job_costs(cls, job: orm.CalcJobNode) -> tuple[float, int]:
        """Return CPU time and ionic steps of a job.

        OUTCAR has the CPU time of one process; the others take the same time.
        """
        misc = job.outputs.misc.get_dict() if "misc" in job.outputs else {}
        seconds = float((misc.get("run_stats") or {}).get("total_cpu_time_used") or 0.0)
        return seconds, int(((misc.get("run_status") or {}).get("last_iteration_index") or [0])[0])

    @classmethod
    def values(cls, results: Mapping[str, Any], *, pressure: float, volume: float) -> dict[str, Any]:
        """Return the energy extrapolated to no smearing, without pressure times volume.

        With PSTRESS, VASP adds pressure times volume to the energy of each ionic step, not to those of electronic
        steps; these lack a van der Waals correction instead.
        """
        energy = float(results["total_energies"]["energy_extrapolated"])
        return {
            "energy": energy - pressure * units.GPa * volume,
            "potential": f"vasp {results.get('version', '')}".strip(),
        }
