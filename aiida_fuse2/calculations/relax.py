"""The CalcJob that relaxes a batch of trials."""

from __future__ import annotations

from aiida import orm
from aiida.common.datastructures import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.worker.names import RELAXED_FILE, RESULTS_FILE, SOFTWARE_FILE, TRIALS_FILE

from .base import WorkerCalculation


def validate_relax_settings(node: orm.Dict, _: object) -> str | None:
    """Return what is wrong with the settings of a relaxation, or None."""
    try:
        parse_settings(RelaxSettings, node.get_dict(), where="relax.settings")
    except InputError as error:
        return str(error)
    return None


class RelaxCalculation(WorkerCalculation):
    """Relaxes the trials of one generation, or a share of them, in one job (``fuse2.relax``)."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input("trials", valid_type=orm.SinglefileData, help="Trials as extended XYZ, from `fuse2.propose`.")
        spec.input(
            "settings", valid_type=orm.Dict, validator=validate_relax_settings, help="Settings of the relaxation."
        )
        spec.input(
            "labels",
            valid_type=orm.List,
            required=False,
            help="Labels of the trials that this job relaxes; all of them by default.",
        )
        spec.inputs["metadata"]["options"]["parser_name"].default = "fuse2.relax"
        spec.output("results", valid_type=orm.Dict, help="Status, energy and costs of each trial, by label.")
        spec.output("relaxed", valid_type=orm.SinglefileData, help="Last geometries as extended XYZ, with labels.")
        spec.output_namespace(
            "structures", valid_type=orm.StructureData, dynamic=True, help="Explored structures by label of the trial."
        )
        spec.default_output_node = "results"

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the job file and say what to copy and to bring back."""
        labels = self.inputs.labels.get_list() if "labels" in self.inputs else None
        job = {"settings": self.inputs.settings.get_dict(), "labels": labels}
        info = self.job_info(folder, "relax", job, retrieve=[RESULTS_FILE, RELAXED_FILE, SOFTWARE_FILE])
        trials = self.inputs.trials
        info.local_copy_list = [(trials.uuid, trials.filename, TRIALS_FILE)]
        return info
