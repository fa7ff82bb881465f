"""The CalcJob that trains a graph network."""

from __future__ import annotations

from aiida import orm
from aiida.common.datastructures import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec

from aiida_fuse2.core.potentials.megnet.archive import read_archive
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.core.training.settings import TrainSettings
from aiida_fuse2.io.names import SUMMARY_FILE, TRAINED_FILE, TRAINING_FILE, WEIGHTS_FILE

from .base import WorkerCalculation, validator


@validator
def _validate_settings(node: orm.Dict) -> None:
    parse_settings(TrainSettings, node.get_dict())


@validator
def _validate_weights(node: orm.SinglefileData | None) -> None:
    if node is not None:
        read_archive(node.get_content(mode="rb"), name=node.filename)


class TrainCalculation(WorkerCalculation):
    """Trains MEGNet on structures and energies, in one job (``fuse2.train``)."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input(
            "settings",
            valid_type=orm.Dict,
            validator=_validate_settings,
            help="Settings of the training, see `TrainSettings`.",
        )
        spec.input(
            "structures",
            valid_type=orm.SinglefileData,
            help="Structures with energies: extended XYZ, or a set of MatBench as JSON; either may be gzipped.",
        )
        spec.input(
            "weights",
            valid_type=orm.SinglefileData,
            required=False,
            validator=_validate_weights,
            help="The model to start from; without it, training begins with random weights.",
        )
        spec.inputs["metadata"]["options"]["parser_name"].default = "fuse2.train"
        spec.output("weights", valid_type=orm.SinglefileData, required=False, help="The trained model.")
        spec.output(
            "summary",
            valid_type=orm.Dict,
            required=False,
            help="Mean absolute errors (eV/atom) on the test structures, before and after, and by epoch.",
        )
        spec.default_output_node = "summary"

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the job file and return the files to retrieve."""
        inputs = self.inputs
        files = {TRAINING_FILE: inputs.structures, WEIGHTS_FILE: inputs.get("weights")}
        job = {"settings": inputs.settings.get_dict()}
        return self.job_info(folder, "train", job, files=files, retrieve=[TRAINED_FILE, SUMMARY_FILE])
