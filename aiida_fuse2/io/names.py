"""Names of the files that a job reads and writes, and other names that jobs and their parsers share."""

from __future__ import annotations

INTERMEDIATE = "is_intermediate"
"""Option of a job that relaxes structures for another tier."""

JOB_FILE = "job.json"
"""Settings of the job."""

WALL_SECONDS = "wall_seconds"
"""Key of the job file for the wall time of the job, s; None for no limit."""

TRIALS_FILE = "trials.extxyz"
"""Structures to relax, with their labels."""

POTENTIAL_FILE = "potential.lib"
"""Library of pair potentials in the format of GULP."""

FRAMES_FILE = "frames.extxyz"
"""Geometries that pair potentials were fitted to, with energies, forces and stresses."""

RELAXED_FILE = "relaxed.extxyz"
"""Last geometry of each relaxed structure, written one by one."""

RUNGS_FILE = "rungs.extxyz"
"""Rungs of the ladder of each structure, written one by one."""

RESULTS_FILE = "results.jsonl"
"""One line of plain values for each relaxed structure, written one by one."""

POOL_FILE = "pool.extxyz"
"""Generated structures, best first."""

SUMMARY_FILE = "summary.json"
"""Counts of a pool job, or the report of learned potentials."""

CHECKPOINT_FILE = "checkpoint.jsonl"
"""Finished pieces of a pool job, written one by one; another job can resume from it."""

PROGRESS_FILE = "progress.json"
"""Progress of a pool job, updated while it runs."""

PROTOTYPES_FILE = "prototypes.extxyz"
"""Prototypes that a composition can adopt."""

WEIGHTS_FILE = "weights.zip"
"""Weights of a graph network."""

TRAINING_FILE = "training_set"
"""Structures with energies, as the user gave them."""

TRAINED_FILE = "trained.zip"
"""Weights of a trained graph network."""

SOFTWARE_FILE = "software.json"
"""Versions of the packages that a job ran with."""

ERROR_FILE = "error.json"
"""Why a job could not start: field, value, expected."""

GULP_INPUT = "main.gin"
GULP_OUTPUT = "main.gout"
"""Input and output of GULP, of the last stage, in a job with one structure."""

GULP_ARCHIVE = "gulp.zip"
"""Inputs and outputs of GULP of the structures of a batch that are kept, a folder for each."""

STDOUT_FILE = "worker.out"
STDERR_FILE = "worker.err"
"""Output of the worker."""
