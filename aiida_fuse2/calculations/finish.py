"""The CalcJob that climbs the ladders of symmetries of explored structures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common.datastructures import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec

from aiida_fuse2.core.answer.settings import AnswerSettings
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.io.names import POTENTIAL_FILE, RESULTS_FILE, RUNGS_FILE, SOFTWARE_FILE, TRIALS_FILE

from .base import WorkerCalculation, validator
from .relax import validate_potential, validate_relax_inputs, validate_relax_settings


@validator
def validate_answer_settings(node: orm.Dict) -> None:
    """Check the settings of the answer."""
    parse_settings(AnswerSettings, node.get_dict())


def _validate_inputs(inputs: Mapping[str, Any], context: object) -> str | None:
    """Check the tier and the potential together."""
    names = {"relax": "settings", "trials": "trials", "potential": "potential"}
    found: str | None = validate_relax_inputs({names[key]: inputs[key] for key in names if key in inputs}, context)
    return found


class FinishCalculation(WorkerCalculation):
    """Relaxes structures tightly and climbs the ladders of their symmetries (``fuse2.finish``)."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input("trials", valid_type=orm.SinglefileData, help="Structures as extended XYZ, with labels.")
        spec.input("labels", valid_type=orm.List, required=False, help="Labels of the structures; all by default.")
        spec.input("settings", valid_type=orm.Dict, validator=validate_answer_settings, help="Settings of the answer.")
        spec.input(
            "relax", valid_type=orm.Dict, validator=validate_relax_settings, help="Settings of the tier of the search."
        )
        spec.input(
            "potential",
            valid_type=orm.SinglefileData,
            required=False,
            validator=validate_potential,
            help="Library of pair potentials in GULP's format, for the calculator 'pair'.",
        )
        spec.output("results", valid_type=orm.Dict, help="Status, costs and rungs of each structure, by label.")
        spec.output("rungs", valid_type=orm.SinglefileData, help="Geometries of the rungs as extended XYZ.")
        spec.default_output_node = "results"
        cls.also_validate(spec, _validate_inputs)
        spec.inputs["metadata"]["options"]["parser_name"].default = "fuse2.finish"

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the job file and return the files to copy and to retrieve."""
        inputs = self.inputs
        job = {"settings": inputs.settings.get_dict(), "relax": inputs.relax.get_dict(), "labels": self.labels}
        files = {TRIALS_FILE: inputs.trials, POTENTIAL_FILE: inputs.get("potential")}
        return self.job_info(folder, "finish", job, files=files, retrieve=[RESULTS_FILE, RUNGS_FILE, SOFTWARE_FILE])
