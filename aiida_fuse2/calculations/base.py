"""The common base of the CalcJobs of this package."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from aiida import orm
from aiida.common.datastructures import CalcInfo, CodeInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJob, CalcJobProcessSpec

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.io.names import ERROR_FILE, INTERMEDIATE, JOB_FILE, STDERR_FILE, STDOUT_FILE, WALL_SECONDS

V = TypeVar("V")


def validator(check: Callable[[V], str | None]) -> Callable[[V, object], str | None]:
    """Return the function that AiiDA calls to validate an input.

    Args:
        check: takes the input; raises an ``InputError`` or returns a problem, and None if there is none.
    """

    def validate(value: V, _: object) -> str | None:
        try:
            return check(value)
        except InputError as error:
            return str(error)

    validate.__doc__ = check.__doc__  # no `functools.wraps`: AiiDA reads the signature
    return validate


class WorkerCalculation(CalcJob):
    """Runs ``aiida-fuse2-worker`` on the computer of the code."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define the inputs, outputs and exit codes of every job of the worker."""
        super().define(spec)
        spec.input("code", valid_type=orm.AbstractCode, help="The command `aiida-fuse2-worker` on its computer.")
        spec.input(
            "software",
            valid_type=orm.Dict,
            required=False,
            help="Versions of the packages on that computer, so that AiiDA's caching distinguishes them.",
        )
        one_process = {"num_machines": 1, "num_mpiprocs_per_machine": 1}
        spec.inputs["metadata"]["options"]["resources"].default = lambda: dict(one_process)
        spec.inputs["metadata"]["options"]["withmpi"].default = False
        spec.inputs["metadata"]["options"]["output_filename"].default = STDOUT_FILE
        # A result that a crash or a time limit cut off does not follow from the inputs: it must not come from a cache.
        incomplete = "The job ended early: {missing} of {total} structures are missing{reason}."
        outcomes = (
            (310, "ERROR_WORKER_DID_NOT_RUN", "The worker wrote no results: {reason}"),
            (311, "ERROR_INPUT_REFUSED", "The worker refused its input: {reason}"),
            (320, "ERROR_RESULTS_INCOMPLETE", incomplete),
            (322, "ERROR_RESULTS_REFUSED", "{bad} of {total} results cannot be used: {reason}"),
            (410, "ERROR_OUTPUT_UNREADABLE", "A result file cannot be read: {reason}"),
        )
        for status, label, message in outcomes:
            spec.exit_code(status, label, message=message, invalidates_cache=True)

    @staticmethod
    def define_batch(spec: CalcJobProcessSpec) -> None:
        """Define the common ports of jobs that relax trials and can be one of several tiers."""
        spec.input("labels", valid_type=orm.List, required=False, help="Labels of the trials; all of them by default.")
        spec.input(
            f"metadata.options.{INTERMEDIATE}",
            valid_type=bool,
            required=False,
            help="Whether another tier follows: relaxed structures are then only in the file of geometries.",
        )
        spec.output("results", valid_type=orm.Dict, help="Status, energy and costs of each trial, by label.")
        spec.output("relaxed", valid_type=orm.SinglefileData, help="Last geometries as extended XYZ, with labels.")
        spec.output_namespace(
            "structures", valid_type=orm.StructureData, dynamic=True, help="Explored structures by label of the trial."
        )
        spec.default_output_node = "results"

    @property
    def labels(self) -> list[str] | None:
        """Labels of the trials to relax; None for all."""
        return self.inputs.labels.get_list() if "labels" in self.inputs else None

    @staticmethod
    def also_validate(spec: CalcJobProcessSpec, check: Callable[[Any, object], str | None]) -> None:
        """Add a validator of all inputs to the inherited one."""
        inherited = spec.inputs.validator
        spec.inputs.validator = lambda inputs, context: inherited(inputs, context) or check(inputs, context)

    def job_info(
        self,
        folder: Folder,
        command: str,
        job: dict[str, Any],
        *,
        files: Mapping[str, orm.SinglefileData | None],
        retrieve: list[str],
    ) -> CalcInfo:
        """Write the job file and return how to run the worker.

        Args:
            folder: folder of the job, before it is uploaded.
            command: command of the worker, e.g. ``relax``.
            job: content of the job file.
            files: inputs to copy to the job, by their names there; None for inputs that are not given.
            retrieve: result files kept only until they are parsed.
        """
        with folder.open(JOB_FILE, "w") as handle:
            json.dump({**job, WALL_SECONDS: self.metadata.options.get("max_wallclock_seconds")}, handle)
        code = CodeInfo()
        code.code_uuid = self.inputs.code.uuid
        code.cmdline_params = [command]
        code.stdout_name = self.metadata.options.output_filename
        code.stderr_name = STDERR_FILE
        info = CalcInfo()
        info.codes_info = [code]
        info.local_copy_list = [(node.uuid, node.filename, name) for name, node in files.items() if node is not None]
        info.retrieve_list = [STDERR_FILE, self.metadata.options.output_filename, ERROR_FILE]
        info.retrieve_temporary_list = retrieve
        return info
