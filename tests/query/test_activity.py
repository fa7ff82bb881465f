"""What a search is doing."""

from __future__ import annotations

from aiida_fuse2.query.activity import jobs_text


def test_jobs_that_write_here_tell_how_far_they_are(tmp_path):
    (tmp_path / "results.jsonl").write_text("{}\n{}\n")
    running = {"process_state": "waiting", "state": "withscheduler", "scheduler_state": "running"}
    queued = {**running, "scheduler_state": "queued", "remote_workdir": "/nonexistent"}
    text = jobs_text([{**running, "remote_workdir": str(tmp_path)}, queued])
    assert text == "(2 relaxed; jobs: 1 queued, 1 running)"
