"""The CalcJob that relaxes a batch of trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common.datastructures import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec

from aiida_fuse2.core.potentials.pair import PairEvaluator, PairLibrary, read_library
from aiida_fuse2.core.relaxers.calculators import check_potential
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.io.names import POTENTIAL_FILE, RELAXED_FILE, RESULTS_FILE, SOFTWARE_FILE, TRIALS_FILE
from aiida_fuse2.io.trials import trials_from_text
from aiida_fuse2.worker.relaxing import needed_potential

from .base import WorkerCalculation, validator


@validator
def validate_relax_settings(node: orm.Dict) -> None:
    """Check the settings of a relaxation."""
    parse_settings(RelaxSettings, node.get_dict(), where="relax.settings")


@validator
def validate_potential(node: orm.SinglefileData) -> str | None:
    """Check a library of pair potentials."""
    try:
        read_library(node.get_content(), where="potential")
    except UnicodeDecodeError as error:
        return str(error)
    return None


def needed_library(potential: orm.SinglefileData, trials: orm.SinglefileData) -> PairLibrary:
    """Return the part of a library that trials need.

    Raises:
        InputError: if a pair of elements of a trial has no potential; all are named.
    """
    return read_library(needed_potential(potential.get_content(), trials_from_text(trials.get_content())))


@validator
def validate_relax_inputs(inputs: Mapping[str, Any]) -> None:
    """Check settings and potential together."""
    if not inputs or "settings" not in inputs:  # the builder is not complete yet, or a WorkChain completes it
        return
    settings = parse_settings(RelaxSettings, inputs["settings"].get_dict(), where="relax.settings")
    check_potential(settings, is_given="potential" in inputs)
    if "potential" in inputs and "trials" in inputs:
        PairEvaluator(needed_library(inputs["potential"], inputs["trials"]))


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
        spec.input(
            "potential",
            valid_type=orm.SinglefileData,
            required=False,
            validator=validate_potential,
            help="Library of pair potentials in GULP's format, for the calculator 'pair'.",
        )
        cls.define_intermediate(spec)
        inherited = spec.inputs.validator
        spec.inputs.validator = lambda inputs, context: (
            inherited(inputs, context) or validate_relax_inputs(inputs, context)
        )
        spec.inputs["metadata"]["options"]["parser_name"].default = "fuse2.relax"
        spec.output("results", valid_type=orm.Dict, help="Status, energy and costs of each trial, by label.")
        spec.output("relaxed", valid_type=orm.SinglefileData, help="Last geometries as extended XYZ, with labels.")
        spec.output_namespace(
            "structures", valid_type=orm.StructureData, dynamic=True, help="Explored structures by label of the trial."
        )
        spec.default_output_node = "results"

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the job file and return the files to copy and to retrieve."""
        labels = self.inputs.labels.get_list() if "labels" in self.inputs else None
        job = {"settings": self.inputs.settings.get_dict(), "labels": labels}
        info = self.job_info(folder, "relax", job, retrieve=[RESULTS_FILE, RELAXED_FILE, SOFTWARE_FILE])
        trials = self.inputs.trials
        info.local_copy_list = [(trials.uuid, trials.filename, TRIALS_FILE)]
        if "potential" in self.inputs:
            potential = self.inputs.potential
            info.local_copy_list.append((potential.uuid, potential.filename, POTENTIAL_FILE))
        return info
