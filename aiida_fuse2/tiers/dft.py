"""The common base of tiers that run the WorkChain of another plugin for each structure."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from aiida import orm
from aiida.engine.processes.builder import ProcessBuilder
from ase import Atoms

from aiida_fuse2.core.errors import InputError, one_line
from aiida_fuse2.core.relaxers.dft import DftSettings
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.relaxers.tiers import SingleTierSettings

from .base import ProcessInputs, SingleTier, TierInputs, TierResult, settings_of

EXCEPTED = "process_excepted"
KILLED = "process_killed"
FAILED = "job_failed"
NO_OUTPUT = "output_missing"
WALL_TIME = "wall_time"
NOT_FINITE = "energy_not_finite"

SCHEDULER_REASONS = {
    100: NO_OUTPUT,
    110: "out_of_memory",
    120: WALL_TIME,
    131: "invalid_account",
    140: "node_failure",
}
"""Reasons of the exit statuses that AiiDA gives to jobs of all plugins."""

KBAR_PER_GPA = 10.0
"""Unit of pressure of these programs."""

NOT_FINITE_MARK = "nan and inf"
"""Part of AiiDA's message on a result that is not finite and cannot be stored."""


def missing_package(package: str, extra: str) -> str:
    """Return what to do about a package that is not installed."""
    return f"{package} is missing: pip install 'aiida-fuse2[{extra}]'"


def require_plugin(given: TierInputs, name: str, plugin: str) -> None:
    """Check that a code is one of a plugin.

    Raises:
        InputError: if it is the code of another plugin, or of none.
    """
    code = given.codes[name]
    if code.default_calc_job_plugin != plugin:
        expected = f"must be a code of the plugin {plugin!r}, not of {code.default_calc_job_plugin!r}"
        raise InputError(f"{given.where}.codes.{name}", code.full_label, expected)


def require_known(values: object, known: Collection[str], *, where: str) -> None:
    """Check the keys of overrides, since a misspelt key would be ignored.

    Raises:
        InputError: if it is no mapping, or a key is not known.
    """
    if not isinstance(values, Mapping):
        raise InputError(where, values, f"must be a mapping of {', '.join(sorted(known))}")
    for key, value in values.items():
        if key not in known:
            raise InputError(f"{where}.{key}", value, f"must be one of {', '.join(sorted(known))}")


def sparse_structure(elements: Collection[str]) -> orm.StructureData:
    """Return a structure with one atom of each element, to test inputs."""
    symbols = sorted(elements)
    places = [(3.0 * i, 0.0, 0.0) for i in range(len(symbols))]
    return orm.StructureData(ase=Atoms(symbols, positions=places, cell=[3.0 * len(symbols), 3.0, 3.0], pbc=True))


def try_inputs(tier: type[SingleTier], given: TierInputs, elements: Collection[str]) -> None:
    """Make the inputs of a structure and let the process check them, without submitting it.

    Raises:
        InputError: if the other plugin refuses them.
    """
    try:
        process_class, inputs = tier.inputs(given, sparse_structure(elements))
        problem = process_class.spec().inputs.validate(inputs)
    except InputError:
        raise
    except Exception as error:  # the other plugin may raise any error on settings that it refuses
        raise InputError(f"{given.where}.settings", given.settings_node.get_dict(), one_line(error)) from error
    if problem is not None:
        raise InputError(f"{given.where}.settings", given.settings_node.get_dict(), one_line(problem))


def jobs_of(node: orm.ProcessNode) -> list[orm.CalcJobNode]:
    """Return the jobs of a process in the order of their creation."""
    jobs = [called for called in node.called_descendants if isinstance(called, orm.CalcJobNode)]
    return sorted(jobs, key=lambda job: int(job.pk))


def number_of_processes(job: orm.CalcJobNode) -> int:
    """Return the number of processes of a job."""
    if not job.get_option("withmpi"):
        return 1
    resources = dict(job.get_option("resources") or {})
    per_machine = resources.get("num_mpiprocs_per_machine") or job.computer.get_default_mpiprocs_per_machine() or 1
    return int(resources.get("tot_num_mpiprocs") or resources.get("num_machines", 1) * per_machine)


class DftTier(SingleTier):
    """A tier whose process is the relax WorkChain of another plugin.

    Attributes:
        process_class: WorkChain, which has protocols.
        plugin: entry point of the jobs, which the code must have.
        reasons: reasons by exit status of the WorkChain.
        job_reasons: reasons by exit status of its last job, if the WorkChain only says that a job failed.
        results_output: name of the output with the energy.
        structure_output: name of the output with the relaxed structure; levels have a dot between them.
    """

    settings_model: ClassVar[type[DftSettings]]
    process_class: ClassVar[Any]
    plugin: ClassVar[str]
    reasons: ClassVar[Mapping[int, str]]
    job_reasons: ClassVar[Mapping[int, str]]
    results_output: ClassVar[str]
    structure_output: ClassVar[str]

    @classmethod
    def base_settings(cls, relax: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that the tier takes from the relaxation of the search.

        Args:
            relax: ``relax.settings`` of the search.
        """
        return {name: relax[name] for name in SingleTierSettings.model_fields}

    @classmethod
    def check(cls, given: TierInputs, elements: Collection[str]) -> None:
        """Refuse a code of another plugin, unknown overrides, missing potentials, and inputs refused by the plugin."""
        require_plugin(given, cls.name, cls.plugin)
        overrides = settings_of(given, cls.settings_model).overrides
        require_known(overrides, set(cls.process_class.spec().inputs), where=f"{given.where}.settings.overrides")
        cls.check_settings(given, elements)
        try_inputs(cls, given, elements)

    @classmethod
    @abstractmethod
    def check_settings(cls, given: TierInputs, elements: Collection[str]) -> None:
        """Check protocol, potentials, and the content of overrides.

        Args:
            given: inputs of the tier.
            elements: elements of all structures.

        Raises:
            InputError: for the first wrong input.
        """

    @classmethod
    @abstractmethod
    def protocol_arguments(cls, given: TierInputs, structure: orm.StructureData) -> dict[str, Any]:
        """Return ``overrides`` of the protocol, and the other inputs of the plugin besides code and options."""

    @classmethod
    def structure_to_relax(cls, given: TierInputs, structure: orm.StructureData) -> orm.StructureData:  # noqa: ARG003
        """Return the structure in the form in which the process takes it."""
        return structure

    @classmethod
    @abstractmethod
    def job_costs(cls, job: orm.CalcJobNode) -> tuple[float, int]:
        """Return CPU or wall time of one process of a job, s, and its ionic steps."""

    @classmethod
    def inputs(cls, given: TierInputs, structure: orm.StructureData) -> ProcessInputs:
        """Return the WorkChain with its inputs."""
        builder: ProcessBuilder = cls.process_class.get_builder_from_protocol(
            code=given.codes[cls.name],
            structure=cls.structure_to_relax(given, structure),
            protocol=settings_of(given, cls.settings_model).protocol,
            options=dict(given.options),
            **cls.protocol_arguments(given, structure),
        )
        return cls.process_class, builder._inputs(prune=True)  # noqa: SLF001 - AiiDA has no public method for it

    @classmethod
    def collect(cls, node: orm.ProcessNode) -> TierResult:
        """Return the result of the WorkChain; costs are those of all processes of all its jobs."""
        costs = [(number_of_processes(job), *cls.job_costs(job)) for job in jobs_of(node)]
        seconds = round(sum(number * time for number, time, _ in costs), 4)
        total = {"cpu_seconds": seconds, "evaluations": sum(steps for _, _, steps in costs)}
        if not node.is_finished_ok:
            return replace(failure_of(node, cls.reasons, cls.job_reasons), costs=total)
        results, structure = output_of(node, cls.results_output), output_of(node, cls.structure_output)
        if results is None or structure is None:
            detail = f"{cls.results_output} or {cls.structure_output} of {node.process_label}"
            return TierResult(status=NO_OUTPUT, detail=detail, costs=total)
        return TierResult(status=CONVERGED, results=results, structure=structure, costs=total)


def output_of(node: orm.ProcessNode, path: str) -> Any:
    """Return an output of a process, or None if it has none of this name.

    Args:
        node: the process.
        path: name of the output after those of its namespaces, separated by dots.
    """
    found: Any = node.outputs
    for key in path.split("."):
        if key not in found:
            return None
        found = found[key]
    return found


def failure_of(node: orm.ProcessNode, reasons: Mapping[int, str], job_reasons: Mapping[int, str]) -> TierResult:
    """Return why a process gave no result.

    Args:
        node: process that did not finish well.
        reasons: reasons by exit status of the process.
        job_reasons: reasons by exit status of its last job, which say more if the process only says that a job failed.
    """
    if node.is_killed:
        return TierResult(status=KILLED, detail=f"process {node.pk}")
    excepted = [process for process in (node, *node.called_descendants) if process.is_excepted]
    if excepted:
        detail = one_line(excepted[-1].exception or "")
        return TierResult(status=NOT_FINITE if NOT_FINITE_MARK in detail else EXCEPTED, detail=detail)
    status, message = int(node.exit_status or 0), one_line(node.exit_message or "")
    if status in reasons:
        return TierResult(status=reasons[status], detail=message)
    jobs = jobs_of(node)
    known = {**SCHEDULER_REASONS, **job_reasons}
    if jobs and jobs[-1].exit_status:
        last = jobs[-1]
        detail = one_line(f"{message} {last.process_label}<{last.pk}>: {last.exit_message}")
        return TierResult(status=known.get(int(last.exit_status), FAILED), detail=detail)
    return TierResult(status=FAILED, detail=one_line(f"exit status {status}: {message}"))
