"""Write what the trials have shown as the table of ``tests/faults/README.md``.

``results/trials.jsonl`` has the rows of ``run_trials`` and ``results/disk.jsonl`` those of ``disk_full``::

    python -m tests.faults.report
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
README = HERE / "README.md"
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"

CAUSED = {
    "worker-kill": "the daemon's worker killed at a random moment",
    "worker-kill-in-propose": "the worker killed while a generation is proposed",
    "worker-kill-in-uploading": "the worker killed while a job is uploaded",
    "worker-kill-in-submitting": "the worker killed while a job is submitted",
    "worker-kill-in-withscheduler": "the worker killed while a job runs",
    "worker-kill-in-retrieving": "the worker killed while the files of a job are fetched",
    "worker-kill-in-parsing": "the worker killed while results are read",
    "worker-kill-in-decide": "the worker killed while a generation is decided",
    "worker-kill-twice": "the worker killed while deciding, and again while results are read",
    "status-and-worker-kill": "`status` asked and the worker killed, twice",
    "two-workers": "two workers instead of one",
    "broker-kill": "the broker killed, the daemon restarted",
    "broker-kill-before-job": "the broker killed before a job is submitted, the daemon restarted",
    "broker-kill-unnoticed": "the broker killed and nothing done",
    "daemon-stop": "the daemon stopped for a minute",
    "job-kill": "a job killed in the middle",
    "job-kill-early": "two jobs killed before their first result",
    "job-and-broker-kill": "a job killed in the middle, then the broker",
    "child-kill": "in three jobs a process killed that relaxes a structure",
    "children-left-by-kill": "two jobs killed; what they had started must be gone within 10 s",
    "child-hang": "a process stopped that relaxes a structure, for ever",
    "reboot": "daemon, broker and jobs killed at once, the daemon started again",
}
"""What each trial does to a search."""

WAYS = {
    "taken": "all space is taken",
    "nearly": "less is left than `min_free_disk`",
}
"""How a disk runs full."""

STEPS = {"process repair": "daemon restarted, `verdi process repair`", "daemon restart": "daemon restarted"}
"""What the doctor says, by what is in the command."""


def rows_of(name):
    """Return the rows of a file of results."""
    return [json.loads(line) for line in (HERE / "results" / name).read_text().splitlines()]


def kind(trial):
    """Return a trial without the number that those at random moments have."""
    return re.sub(r"-\d+$", "", trial)


def line(*cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def trials_table(rows):
    """Yield the lines of the table of trials."""
    yield line("caused", "searches", "struck while", "different", "repaired as the doctor says")
    yield line(*["---"] * 5)
    for name, caused in CAUSED.items():
        found = [row for row in rows if kind(row["trial"]) == name]
        if not found:
            continue
        phases = Counter(phase for row in found for phase in row["killed"])
        struck = ", ".join(phase if n == 1 else f"{phase} ({n})" for phase, n in sorted(phases.items()))
        different, mended = (sum(bool(row[key]) for row in found) for key in ("different", "mended"))
        yield line(caused, len(found), struck, different, mended)


def step_text(step):
    """Return in short what was done."""
    return next((text for word, text in STEPS.items() if word in step), f"`{step.rpartition(': ')[2]}`")


def disk_table(rows):
    """Yield the lines of the table of full disks."""
    yield line("full disk", "struck while", "the search", "after space was made", "end", "database", "different")
    yield line(*["---"] * 7)
    for row in rows:
        steps = ", ".join(dict.fromkeys(map(step_text, row["steps"]))) or "nothing to do"
        integrity = ", ".join(sorted(set(row["integrity"])))
        different = ", ".join(row["different"]) or "no"
        state = row["while full"].partition("]")
        then = state[0] + state[1] if state[1] else state[0].partition(",")[0]
        yield line(WAYS[row["way"]], row["moment"], then, steps, row["last search"].strip(), integrity, different)


def text():
    """Return both tables."""
    trials, disk = rows_of("trials.jsonl"), rows_of("disk.jsonl")
    bad = sum(bool(row["different"]) for row in trials)
    total = f"{len(trials)} searches were disturbed, {bad} of them found something else."
    return "\n".join(["", total, "", *trials_table(trials), "", *disk_table(disk), "", ""])


def renewed(readme):
    """Return the text of the README with the present results."""
    before, rest = readme.split(BEGIN)
    return before + BEGIN + text() + END + rest.split(END)[1]


if __name__ == "__main__":
    README.write_text(renewed(README.read_text()))
