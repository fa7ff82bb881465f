"""The CalcJob that learns pair potentials of a composition."""

from __future__ import annotations

from aiida import orm
from aiida.common.datastructures import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec

from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.core.training.pair_settings import LearnSettings, check_learning
from aiida_fuse2.io.names import FRAMES_FILE, POTENTIAL_FILE, SUMMARY_FILE

from .base import WorkerCalculation, validator
from .relax import validate_relax_settings


@validator
def validate_learn_settings(node: orm.Dict) -> None:
    """Check the settings of learning."""
    check_learning(parse_settings(LearnSettings, node.get_dict()))


class LearnPotentialCalculation(WorkerCalculation):
    """Learns pair potentials of a composition from another potential, in one job (``fuse2.learn_potential``)."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input("settings", valid_type=orm.Dict, validator=validate_learn_settings, help="Settings of learning.")
        spec.input(
            "relax",
            valid_type=orm.Dict,
            validator=validate_relax_settings,
            help="Settings of the relaxations; their calculator is the teacher.",
        )
        spec.inputs["metadata"]["options"]["parser_name"].default = "fuse2.learn_potential"
        spec.output("potential", valid_type=orm.SinglefileData, help="Library in GULP's format: splines.")
        spec.output("report", valid_type=orm.Dict, help="Quality of the fit, and its costs.")
        spec.output(
            "frames", valid_type=orm.SinglefileData, help="Data that the potentials were fitted to, as extended XYZ."
        )
        spec.default_output_node = "report"

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the job file and return the files to retrieve."""
        job = {"settings": self.inputs.settings.get_dict(), "relax": self.inputs.relax.get_dict()}
        return self.job_info(folder, "learn", job, files={}, retrieve=[POTENTIAL_FILE, FRAMES_FILE, SUMMARY_FILE])
