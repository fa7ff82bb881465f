"""The common base of the CalcJobs of this package."""

from __future__ import annotations

import json
from collections.abc import Callable
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
        spec.inputs["metadata"]["options"]["resources"].default = lambda: {
            "num_machines": 1,
            "num_mpiprocs_per_machine": 1,
        }
        spec.inputs["metadata"]["options"]["withmpi"].default = False
        spec.inputs["metadata"]["options"]["output_filename"].default = STDOUT_FILE
        # A result that a crash or a time limit cut off does not follow from the inputs: it must not come from a cache.
        spec.exit_code(
            310, "ERROR_WORKER_DID_NOT_RUN", message="The worker wrote no results: {reason}", invalidates_cache=True
        )
        spec.exit_code(
            311, "ERROR_INPUT_REFUSED", message="The worker refused its input: {reason}", invalidates_cache=True
        )
        spec.exit_code(
            320,
            "ERROR_RESULTS_INCOMPLETE",
            message="The job ended early: {missing} of {total} structures are missing{reason}.",
            invalidates_cache=True,
        )
        spec.exit_code(
            322,
            "ERROR_RESULTS_REFUSED",
            message="{bad} of {total} results cannot be used: {reason}",
            invalidates_cache=True,
        )
        spec.exit_code(
            410,
            "ERROR_OUTPUT_UNREADABLE",
            message="A result file cannot be read: {reason}",
            invalidates_cache=True,
        )

    @staticmethod
    def define_intermediate(spec: CalcJobProcessSpec) -> None:
        """Define the option of jobs that can be one of several tiers."""
        spec.input(
            f"metadata.options.{INTERMEDIATE}",
            valid_type=bool,
            required=False,
            help="Whether another tier follows: relaxed structures are then only in the file of geometries.",
        )

    def job_info(self, folder: Folder, command: str, job: dict[str, Any], *, retrieve: list[str]) -> CalcInfo:
        """Write the job file and return how to run the worker.

        Args:
            folder: folder of the job, before it is uploaded.
            command: ``relax`` or ``generate``.
            job: content of the job file.
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
        info.local_copy_list = []
        info.retrieve_list = [STDERR_FILE, self.metadata.options.output_filename, ERROR_FILE]
        info.retrieve_temporary_list = retrieve
        return info
