"""The CalcJob that fills a pool."""

from __future__ import annotations

from aiida import orm
from aiida.common.datastructures import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import SearchSettings, check_search, parse_settings
from aiida_fuse2.worker.names import POOL_FILE, SUMMARY_FILE

from .base import WorkerCalculation


def validate_search_settings(node: orm.Dict, _: object) -> str | None:
    """Return what is wrong with the settings of a search, or None."""
    try:
        check_search(parse_settings(SearchSettings, node.get_dict()))
    except InputError as error:
        return str(error)
    return None


class GenerateCalculation(WorkerCalculation):
    """Makes a pool of structures with a generator, in one job (``fuse2.generate``)."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input("settings", valid_type=orm.Dict, validator=validate_search_settings, help="Settings of the search.")
        spec.input("pool_number", valid_type=orm.Int, help="How many pools the search has filled before.")
        spec.inputs["metadata"]["options"]["parser_name"].default = "fuse2.generate"
        spec.output("pool", valid_type=orm.SinglefileData, help="Generated structures as extended XYZ, best first.")
        spec.output("summary", valid_type=orm.Dict, help="Structures tried, kept, rejected by reason; CPU seconds.")
        spec.default_output_node = "summary"
        spec.exit_code(420, "ERROR_EMPTY_POOL", message="No structure could be generated; rejected: {reason}")

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the job file and say what to bring back."""
        job = {"settings": self.inputs.settings.get_dict(), "pool_number": self.inputs.pool_number.value}
        return self.job_info(folder, "generate", job, retrieve=[POOL_FILE, SUMMARY_FILE])
