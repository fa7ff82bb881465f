"""The documentation builds without a warning and leaves no module of the core out."""

import os
import pkgutil
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import aiida_fuse2.core

from .faults import report

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
CORE = aiida_fuse2.core
MODULES = [info.name for info in pkgutil.walk_packages(CORE.__path__, f"{CORE.__name__}.")]


@pytest.mark.slow
def test_builds_without_warnings(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    command += ["-d", str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "html")]
    env = {**os.environ, "AIIDA_PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    science = (tmp_path / "html" / "explanation" / "science.html").read_text()
    assert "Sub-modules and modules" in science
    core = (tmp_path / "html" / "reference" / "core.html").read_text()
    assert "aiida_fuse2.core.crystal.slicing.slice_structure" in core
    assert [name for name in MODULES if f'id="module-{name}"' not in core] == []


def test_reference_has_every_module_of_the_core(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    from reference_directives import modules_of

    page = (DOCS / "reference" / "core.md").read_text()
    listed = [name for room in re.findall(r"\{fuse2-modules\} (\S+)", page) for name in modules_of(room)]
    assert len(MODULES) > 20
    assert sorted(listed) == sorted(MODULES)


def test_links_between_files_of_the_readme_lead_somewhere():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


CAUSED_BY = {
    "the daemon is not running": "environment/test_diagnosis.py::test_daemon_and_workers_that_are_gone",
    "a worker of a daemon that is no more still runs": "cli/test_status.py::"
    "test_worker_that_survives_its_daemon_is_named",
    "the daemon runs without a worker": "environment/test_diagnosis.py::test_daemon_and_workers_that_are_gone",
    "the daemon is older than the installed code": "environment/test_diagnosis.py::test_broker_and_daemon_of_before",
    "workers are not connected to the broker": "environment/test_diagnosis.py::test_broker_and_daemon_of_before",
    "a process is paused": "environment/test_diagnosis.py::test_job_that_its_computer_does_not_take",
    "a job was last looked at some time ago": "cli/test_status.py::test_job_that_is_not_looked_at_any_more",
    "a process is not in the queue of the broker": "faults/test_faults.py::test_disturbed_searches_find_the_same",
    "a job waits or runs although its caller has ended": (
        "cli/test_identifiers.py::test_what_outlives_its_search_is_found"
    ),
    "the profile has no broker": "cli/test_identifiers.py::test_profile_without_a_broker_is_told_how_to_get_one",
    "a file of the broker was written empty": "storage/test_broker.py::test_doctor_tells_of_it_first",
    "the daemon was started where there are files": (
        "storage/test_broker.py::test_doctor_tells_where_files_are_in_danger"
    ),
    "a step was cut off by a kill and done again": "cli/test_status.py::test_step_that_was_cut_off_is_named",
    "a job has been at work longer than its `max_wallclock_seconds`": "cli/test_hangs.py::"
    "test_job_past_its_wall_time_is_named",
    "a search has decided on no generation for much longer than usual": "cli/test_hangs.py::"
    "test_search_that_stands_still_is_named",
    "little space is free": "cli/test_status.py::test_full_disk",
    "cannot write": "cli/test_status.py::test_folder_that_cannot_be_written",
    "a code points to what is no program any more": "environment/test_diagnosis.py::test_broken_code_is_named",
    "a code does not start on its computer": "cli/test_status.py::test_code_that_does_not_start",
    "a code was not tried: it has commands of its own": (
        "cli/test_identifiers.py::test_the_doctor_runs_no_commands_of_a_code_that_may_have_come_with_an_archive"
    ),
}
"""The test that causes each trouble of the page on what went wrong."""


def test_every_trouble_of_the_page_is_caused_in_a_test():
    page = (DOCS / "howto" / "trouble.md").read_text()
    table = page.partition("| the doctor says |")[2].partition("\n\n")[0].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in table] == list(CAUSED_BY)
    for test in CAUSED_BY.values():
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / path).read_text(), test


def test_page_has_every_exit_status_of_a_search():
    from aiida_fuse2.workchains.search import Fuse2WorkChain

    page = (DOCS / "howto" / "trouble.md").read_text()
    table = page.partition("## Exit status of a search")[2].partition("\n\n#")[0]
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} - {0}
    own = 200
    assert listed == {code.status for code in Fuse2WorkChain.spec().exit_codes.values() if code.status >= own}


def test_results_of_the_trials_are_those_of_their_files():
    readme = report.README.read_text()
    assert report.renewed(readme) == readme


def test_answers_of_the_page_are_those_of_the_script():
    script = runpy.run_path(str(ROOT / "benchmarks" / "answers.py"))
    rows = script["read_rows"](ROOT / "benchmarks" / "results" / "answers.jsonl")
    assert {row["of"] for row in rows} == set(script["COMPOUNDS"])
    assert script["tables"](rows) in (DOCS / "explanation" / "answers.md").read_text()
