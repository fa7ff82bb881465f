"""Names of the files that a job reads and writes, and what else jobs and their parsers call alike."""

from __future__ import annotations

INTERMEDIATE = "is_intermediate"
"""Option of a job that relaxes structures for another tier."""

JOB_FILE = "job.json"
"""Settings of the job."""

WALL_SECONDS = "wall_seconds"
"""What the job file calls the wall time that the job may take, s; None for no limit."""

TRIALS_FILE = "trials.extxyz"
"""Structures to relax, with their labels."""

POTENTIAL_FILE = "potential.lib"
"""Library of pair potentials in the format of GULP."""

FRAMES_FILE = "frames.extxyz"
"""Geometries that pair potentials were fitted to, with energies, forces and stresses."""

RELAXED_FILE = "relaxed.extxyz"
"""Last geometry of each relaxed structure, written as it comes."""

RESULTS_FILE = "results.jsonl"
"""One line of plain values for each relaxed structure, written as it comes."""

POOL_FILE = "pool.extxyz"
"""Generated structures, best first."""

SUMMARY_FILE = "summary.json"
"""Counts of a pool job, or the report of learned potentials."""

CHECKPOINT_FILE = "checkpoint.jsonl"
"""Finished pieces of a pool job, written as they come; another job can go on from it."""

PROGRESS_FILE = "progress.json"
"""How far a pool job is, written as it goes on."""

WEIGHTS_FILE = "weights.zip"
"""Weights of a graph network."""

TRAINING_FILE = "training_set"
"""Structures with energies, as they were given."""

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
"""What the worker prints."""
