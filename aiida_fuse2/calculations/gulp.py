"""The CalcJobs that compute structures with GULP."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

from aiida import orm
from aiida.common.datastructures import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec

from aiida_fuse2.core.potentials.pair import PairLibrary, read_library
from aiida_fuse2.core.relaxers.gulp import GulpSettings
from aiida_fuse2.core.relaxers.gulp.settings import check_charges, check_task
from aiida_fuse2.core.search.trials import single_trial
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.io.names import (
    GULP_ARCHIVE,
    GULP_INPUT,
    GULP_OUTPUT,
    POTENTIAL_FILE,
    RELAXED_FILE,
    RESULTS_FILE,
    SOFTWARE_FILE,
    TRIALS_FILE,
)
from aiida_fuse2.io.trials import trials_to_text

from .base import WorkerCalculation, validator
from .relax import needed_library, validate_potential


def _library(inputs: Mapping[str, Any]) -> PairLibrary:
    """Return the part of the library that the structures need.

    Raises:
        InputError: if it lacks a pair of their elements.
    """
    if "trials" in inputs:
        return needed_library(inputs["potential"], inputs["trials"])
    library = read_library(inputs["potential"].get_content())
    elements = inputs["structure"].get_symbols_set()
    library.require(elements, where="potential")
    return library.restricted(elements)


def _problem(inputs: Mapping[str, Any], *, optimises: bool) -> str | None:
    """Return why the inputs do not fit together, or None.

    Raises:
        InputError: if one of them is wrong.
    """
    if not inputs or "parameters" not in inputs:
        return None
    settings = parse_settings(GulpSettings, inputs["parameters"].get_dict(), where="parameters")
    check_task(settings, optimises=optimises)
    if "potential" in inputs and ("structure" in inputs) != ("trials" in inputs):
        check_charges(settings, _library(inputs))
    if ("structure" in inputs) == ("trials" in inputs):
        return "give either a structure or trials"
    if "labels" in inputs and "structure" in inputs:
        return "labels select trials, but there are no trials"
    if {"code", "gulp"} <= set(inputs) and inputs["code"].computer.uuid != inputs["gulp"].computer.uuid:
        return f"gulp is on {inputs['gulp'].computer.label!r}, but the worker that starts it is on another computer"
    return None


class GulpCalculation(WorkerCalculation):
    """The common base of the jobs with GULP: one structure, or a batch of trials as in ``fuse2.relax``."""

    OPTIMISES: ClassVar[bool]

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input("gulp", valid_type=orm.InstalledCode, help="GULP, on the computer of the worker.")
        spec.input("structure", valid_type=orm.StructureData, required=False, help="The structure; or give trials.")
        spec.input("trials", valid_type=orm.SinglefileData, required=False, help="Structures as in `fuse2.relax`.")
        spec.input(
            "potential",
            valid_type=orm.SinglefileData,
            validator=validate_potential,
            help="Library of pair potentials in GULP's format.",
        )
        spec.input("parameters", valid_type=orm.Dict, help="Stages, limits and tolerances; see the protocols of GULP.")
        cls.define_batch(spec)
        cls.also_validate(spec, validator(functools.partial(_problem, optimises=cls.OPTIMISES)))
        spec.inputs["metadata"]["options"]["parser_name"].default = "fuse2.gulp"
        spec.output(
            "structure",
            valid_type=orm.StructureData,
            required=False,
            help="The last geometry, if one structure was given.",
        )
        cls._define_outcomes(spec)

    @classmethod
    def _define_outcomes(cls, spec: CalcJobProcessSpec) -> None:
        """Define the exit codes of a job with one structure; each trial of a batch has a status instead."""
        outcomes = (
            (330, "ERROR_GULP_REFUSED", "GULP stopped with an error: {reason}"),
            (331, "ERROR_OUTPUT_TRUNCATED", "The output of GULP ends before the run did: {reason}"),
            (430, "ERROR_OVERFLOW", "A number in the output of GULP does not fit its column: {reason}"),
            (431, "ERROR_NOT_FINITE", "An energy or coordinate is not finite: {reason}"),
            (432, "ERROR_BAD_STRUCTURE", "The structure cannot be used: {reason}"),
            (700, "ERROR_STEP_LIMIT", "The optimisation reached its limit of function calls: {reason}"),
            (701, "ERROR_TIME_LIMIT", "The optimisation reached its time limit: {reason}"),
            (702, "ERROR_NO_MINIMUM", "The optimisation found no minimum: {reason}"),
        )
        for status, label, message in outcomes:
            spec.exit_code(status, label, message=message, invalidates_cache=status in {331, 701})

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the job file and return the files to copy and to retrieve."""
        inputs = self.inputs
        job = {
            "parameters": inputs.parameters.get_dict(),
            "command": [str(inputs.gulp.get_executable())],
            "labels": self.labels,
        }
        if "structure" in inputs:
            with folder.open(TRIALS_FILE, "w") as handle:
                handle.write(trials_to_text([single_trial(inputs.structure.get_ase())]))
        files = {POTENTIAL_FILE: inputs.potential, TRIALS_FILE: inputs.get("trials")}
        info = self.job_info(folder, "gulp", job, files=files, retrieve=[RESULTS_FILE, RELAXED_FILE, SOFTWARE_FILE])
        info.retrieve_list += [GULP_INPUT, GULP_OUTPUT, GULP_ARCHIVE]
        info.prepend_text = inputs.gulp.prepend_text  # modules that GULP needs
        return info


class GulpOptimizeCalculation(GulpCalculation):
    """Relaxes one structure, or a batch of trials, with GULP (``fuse2.gulp.optimize``)."""

    OPTIMISES = True


class GulpSingleCalculation(GulpCalculation):
    """Computes the energy of one structure, or of a batch of trials, with GULP (``fuse2.gulp.single``)."""

    OPTIMISES = False
