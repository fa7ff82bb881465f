"""Names of the files that a job reads and writes."""

from __future__ import annotations

JOB_FILE = "job.json"
"""Settings of the job."""

TRIALS_FILE = "trials.extxyz"
"""Structures to relax, with their labels."""

RELAXED_FILE = "relaxed.extxyz"
"""Last geometry of each relaxed structure, written as it comes."""

RESULTS_FILE = "results.jsonl"
"""One line of plain values for each relaxed structure, written as it comes."""

POOL_FILE = "pool.extxyz"
"""Generated structures, best first."""

SUMMARY_FILE = "summary.json"
"""Counts of a pool job."""

SOFTWARE_FILE = "software.json"
"""Versions of the packages that a job ran with."""

ERROR_FILE = "error.json"
"""Why a job could not start: field, value, expected."""

STDOUT_FILE = "worker.out"
STDERR_FILE = "worker.err"
"""What the worker prints."""
