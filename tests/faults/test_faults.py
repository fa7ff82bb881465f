"""A short form of the trials: disturbed searches find what the undisturbed one finds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .disk_full import mount_problem

ROOT = Path(__file__).resolve().parents[2]

TRIALS = ("worker-kill-twice", "job-and-broker-kill", "child-kill", "children-left-by-kill", "child-hang")


@pytest.mark.slow
@pytest.mark.daemon
@pytest.mark.timeout(3600)
def test_disturbed_searches_find_the_same(tmp_path):
    """In a process of its own, with a profile of its own: this one has AiiDA loaded with another."""
    command = [sys.executable, "-m", "tests.faults.run_trials", tmp_path, "--structures", "8", "--only", *TRIALS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [row["trial"] for row in rows] == list(TRIALS)
    assert [row["different"] for row in rows] == [[]] * len(TRIALS)
    assert all(set(row["killed"]) - {"ended"} for row in rows)


@pytest.mark.slow
@pytest.mark.daemon
@pytest.mark.timeout(3600)
def test_search_ends_on_a_nearly_full_disk_and_is_continued(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    problem = mount_problem(folder)
    if problem:
        pytest.skip(f"no file system can be mounted here: {problem}")
    options = ["--ways", "nearly", "--moments", "decide", "--structures", "8"]
    command = [sys.executable, "-m", "tests.faults.disk_full", folder, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    (row,) = [json.loads(line) for line in (tmp_path / "disk.jsonl").read_text().splitlines()]
    assert row["reached"]
    assert row["integrity"] == ["ok", "ok"]
    assert row["different"] == []
    assert row["steps"] == ["aiida-fuse2 continue"]
    assert row["while full"].startswith("finished [303]")
