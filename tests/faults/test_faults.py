"""A short form of the trials: two disturbed searches find what the undisturbed one finds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TRIALS = ("worker-kill-twice", "job-and-broker-kill")


@pytest.mark.slow
@pytest.mark.daemon
@pytest.mark.timeout(600)
def test_disturbed_searches_find_the_same(tmp_path):
    """In a process of its own, with a profile of its own: this one has AiiDA loaded with another."""
    command = [sys.executable, "-m", "tests.faults.run_trials", tmp_path, "--structures", "8", "--only", *TRIALS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [row["trial"] for row in rows] == list(TRIALS)
    assert [row["different"] for row in rows] == [[], []]
    assert all(row["killed"] >= 2 for row in rows)
