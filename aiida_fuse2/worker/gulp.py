"""A batch of structures computed with GULP: one run for each structure and stage, side by side."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from aiida_fuse2.core.crystal.uniqueness import fingerprint
from aiida_fuse2.core.errors import InputError, RelaxationError, one_line
from aiida_fuse2.core.potentials.pair import read_library
from aiida_fuse2.core.relaxers.driver import RelaxedStructure, check_connected, describe
from aiida_fuse2.core.relaxers.energies import GULP, check_energy
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.relaxers.gulp import GulpOutput, GulpSettings, Outcome, StageSettings, read_output, write_input
from aiida_fuse2.core.relaxers.gulp.settings import check_charges
from aiida_fuse2.core.relaxers.watch import check_contacts, check_geometry
from aiida_fuse2.core.search.trials import Trial
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.io.names import GULP_ARCHIVE, GULP_INPUT, GULP_OUTPUT, POTENTIAL_FILE, SOFTWARE_FILE, TRIALS_FILE
from aiida_fuse2.io.trials import select_trials, trials_from_text

from .family import die_with
from .processes import Lost, run_all
from .relaxing import lost_structure, needed_potential, write_results
from .software import software_versions

RUNS_FOLDER = "runs"
"""Folder inside the folder of the job, with a folder for each structure."""

MAX_STDERR = 200
"""Longest text kept of GULP's error output, characters."""

GRACE = 2.0
"""Wall time after which GULP is killed, as a multiple of its time limit."""

GOES_ON = frozenset({Outcome.ACHIEVED, Outcome.SINGLE, Outcome.NO_MINIMUM, Outcome.STEP_LIMIT})
"""Outcomes of a stage after which the next stage begins."""


@dataclass(frozen=True)
class GulpRunner:
    """Runs GULP for one structure after another.

    Attributes:
        command: the program and its arguments; it reads the input on its standard input.
        settings: settings of the job.
        library: text of the library.
    """

    command: tuple[str, ...]
    settings: GulpSettings
    library: str

    def compute(self, trial: Trial, folder: Path) -> RelaxedStructure:
        """Return the result of GULP for a structure; a failure is an outcome with a name, never an exception.

        Args:
            trial: the structure and its label.
            folder: folder of this structure, with the files of the last stage and, numbered, of the earlier ones.
        """
        start = Atoms(numbers=trial.atoms.numbers, positions=trial.atoms.positions, cell=trial.atoms.cell, pbc=True)
        values: dict[str, Any] = {"potential": GULP, "evaluations": 0, "cpu_seconds": 0.0}
        final = start
        try:
            check_geometry(start, self.settings.isolated_distance)
            folder.mkdir(parents=True)
            (folder / POTENTIAL_FILE).write_text(self.library)
            output = GulpOutput(Outcome.TRUNCATED)
            for number, stage in enumerate(self.settings.stages, start=1):
                output = self._run(final, stage, trial.info.label, folder)
                _count(values, output)
                final = _geometry(final, output, stage)
                if output.outcome not in GOES_ON:
                    break
                if number < len(self.settings.stages):
                    for name in (GULP_INPUT, GULP_OUTPUT):
                        (folder / name).rename(folder / f"stage_{number}_{name}")
            return self._finished(final, output, values)
        except RelaxationError as error:
            return RelaxedStructure(error.reason, error.detail, final, values, None)

    def _run(self, atoms: Atoms, stage: StageSettings, label: str, folder: Path) -> GulpOutput:
        """Run one stage and return the content of its output."""
        text = write_input(atoms, self.settings, stage, name=label, library=POTENTIAL_FILE)
        (folder / GULP_INPUT).write_text(text)
        limit = self.settings.time_limit
        with (folder / GULP_INPUT).open() as stdin, (folder / GULP_OUTPUT).open("w") as stdout:
            try:
                done = subprocess.run(  # noqa: S603 - the program that the user has set up as a code
                    self.command,
                    cwd=folder,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=subprocess.PIPE,
                    check=False,
                    preexec_fn=functools.partial(die_with, os.getpid()),  # this process has no threads
                    timeout=None if limit is None else GRACE * limit,
                )
            except subprocess.TimeoutExpired:
                return GulpOutput(Outcome.TIME_LIMIT, f"killed after {GRACE * (limit or 0):g} s of wall time")
        output = read_output((folder / GULP_OUTPUT).read_text(errors="replace"))
        if output.outcome is Outcome.TRUNCATED:
            said = one_line(done.stderr.decode(errors="replace"), MAX_STDERR)
            detail = f"{output.detail}; exit code {done.returncode}{': ' if said else ''}{said}"
            return replace(output, detail=detail)
        return output

    def _finished(self, atoms: Atoms, output: GulpOutput, values: dict[str, Any]) -> RelaxedStructure:
        """Return the result of a structure for which no stage failed.

        Raises:
            RelaxationError: if it did not converge, with the outcome as the reason; ``fused_atoms``,
                ``isolated_atom``, ``isolated_parts``, ``cell_exploded``, ``energy_impossible``.
        """
        outcome = output.outcome
        is_low = output.gnorm is not None and output.gnorm <= self.settings.max_gnorm
        converged = outcome in {Outcome.ACHIEVED, Outcome.SINGLE}
        if not converged and not (is_low and outcome in {Outcome.NO_MINIMUM, Outcome.STEP_LIMIT}):
            raise RelaxationError(outcome, output.detail)
        if output.energy is None:
            raise RelaxationError(Outcome.TRUNCATED, "there is no energy")
        check_geometry(atoms, self.settings.isolated_distance)
        check_contacts(atoms, self.settings.min_contact)
        check_connected(atoms, self.settings.isolated_distance)
        pressure = self.settings.pressure
        work = pressure * units.GPa * float(atoms.get_volume()) if output.is_enthalpy else 0.0
        check_energy((output.energy - work) / len(atoms), atoms.numbers, GULP)
        values |= describe(atoms, output.energy - work, pressure, self.settings.report_symprec)
        values |= {"gnorm": output.gnorm, "outcome": str(outcome)}
        atoms.wrap()
        return RelaxedStructure(CONVERGED, "", atoms, values, fingerprint(atoms))


def _count(values: dict[str, Any], output: GulpOutput) -> None:
    """Add the costs of a stage."""
    values["potential"] = f"gulp {output.version}".strip()
    values["evaluations"] += output.cycles + 1
    values["cpu_seconds"] = round(values["cpu_seconds"] + (output.cpu_seconds or 0.0), 4)
    values["steps"] = values.get("steps", 0) + output.cycles


def _geometry(atoms: Atoms, output: GulpOutput, stage: StageSettings) -> Atoms:
    """Return the geometry that a stage ended with; that of its start if it has moved nothing, or printed none.

    Raises:
        RelaxationError: ``output_truncated`` if an optimisation that ended has printed no geometry, or one of
            other atoms.
    """
    if not stage.is_optimisation or output.outcome not in GOES_ON | {Outcome.TIME_LIMIT}:
        return atoms
    if output.fractional is None or output.cell is None:
        if output.outcome is Outcome.TIME_LIMIT:
            return atoms
        raise RelaxationError(Outcome.TRUNCATED, "there is no final geometry")
    if list(output.symbols) != atoms.get_chemical_symbols():
        raise RelaxationError(Outcome.TRUNCATED, "the final geometry has other atoms, or another order of them")
    cell = output.cell if stage.moves_cell else atoms.cell.array
    return Atoms(numbers=atoms.numbers, positions=np.asarray(output.fractional) @ cell, cell=cell, pbc=True)


def compute_all(trials: Sequence[Trial], runner: GulpRunner, folder: Path) -> Iterator[tuple[Trial, RelaxedStructure]]:
    """Compute trials and yield each with its result as soon as it is finished; large structures begin first.

    Args:
        trials: in any order.
        runner: runs GULP.
        folder: folder in which each trial has a folder of its own.
    """
    ordered = sorted(trials, key=lambda trial: -len(trial.atoms))
    work = [(runner, trial, folder / trial.info.label) for trial in ordered]
    for (_, trial, _), outcome in run_all(_compute_one, work, runner.settings.processes):
        yield trial, lost_structure(trial, outcome, GULP) if isinstance(outcome, Lost) else outcome


def _compute_one(work: tuple[GulpRunner, Trial, Path]) -> RelaxedStructure:
    runner, trial, folder = work
    shutil.rmtree(folder, ignore_errors=True)  # left by a process that died
    return runner.compute(trial, folder)


def run_gulp_job(job: dict[str, Any], folder: Path) -> None:
    """Run a job with GULP in a folder.

    Args:
        job: ``parameters``, the ``command`` that runs GULP, and ``labels`` of the trials; all of them where None.
        folder: holds ``trials.extxyz`` and ``potential.lib``; results are added line by line.

    Raises:
        InputError: if parameters or library are wrong, or GULP is not found.
    """
    settings = parse_settings(GulpSettings, job["parameters"], where="parameters")
    command = tuple(job["command"])
    if shutil.which(command[0]) is None:
        raise InputError("gulp", command[0], "there is no such program on the computer where the job runs")
    (folder / SOFTWARE_FILE).write_text(json.dumps(software_versions()))
    trials = select_trials(trials_from_text((folder / TRIALS_FILE).read_text()), job["labels"])
    library = needed_potential((folder / POTENTIAL_FILE).read_text(), trials, where="potential")
    check_charges(settings, read_library(library))
    runs = folder / RUNS_FOLDER
    failed: set[str] = set()

    def watched() -> Iterator[tuple[Trial, RelaxedStructure]]:
        for trial, outcome in compute_all(trials, GulpRunner(command, settings, library), runs):
            if outcome.status != CONVERGED:
                failed.add(trial.info.label)
            yield trial, outcome

    write_results(folder, watched())
    _keep_files(folder, [trial.info.label for trial in trials], failed, settings)


def _keep_files(folder: Path, labels: Sequence[str], failed: set[str], settings: GulpSettings) -> None:
    """Put the GULP files to keep into the file that is retrieved."""
    runs = folder / RUNS_FOLDER
    if len(labels) == 1:
        for name in (GULP_INPUT, GULP_OUTPUT):
            if (runs / labels[0] / name).exists():
                shutil.copy(runs / labels[0] / name, folder / name)
    kept = {"all": set(labels), "failed": failed, "none": set()}[settings.keep_outputs]
    files = [path for label in sorted(kept) for path in sorted((runs / label).glob("*main.g*"))]
    if len(labels) > 1 and files:
        with zipfile.ZipFile(folder / GULP_ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files:
                archive.write(path, str(path.relative_to(runs)))
    shutil.rmtree(runs, ignore_errors=True)
