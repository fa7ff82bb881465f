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
            "potential",
            valid_type=orm.SinglefileData,
            required=False,
            validator=validate_potential,
            help="Library of pair potentials in GULP's format, for the calculator 'pair'.",
        )
        cls.define_batch(spec)
        cls.also_validate(spec, validate_relax_inputs)
        spec.inputs["metadata"]["options"]["parser_name"].default = "fuse2.relax"

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the job file and return the files to copy and to retrieve."""
        inputs = self.inputs
        job = {"settings": inputs.settings.get_dict(), "labels": self.labels}
        files = {TRIALS_FILE: inputs.trials, POTENTIAL_FILE: inputs.get("potential")}
        return self.job_info(folder, "relax", job, files=files, retrieve=[RESULTS_FILE, RELAXED_FILE, SOFTWARE_FILE])
