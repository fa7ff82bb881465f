"""Searches on PostgreSQL: tests of the search, of going on with it and of its status again, with that storage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import postgres
from tests.conftest import STORAGE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]

SUBSET = (
    "workchains/test_search.py::test_outputs",
    "workchains/test_search.py::test_every_explored_structure_can_be_walked",
    "workchains/test_search.py::test_state_follows_from_state",
    "workchains/test_search_steps.py",
    "workchains/test_prototypes.py::test_from_a_structure_to_its_prototype_and_its_source",
    "workchains/test_search_inputs.py::test_contradictory_inputs_are_refused_before_submission",
    "workchains/test_continue.py::test_added_structures_wait_for_the_continuation",
    "workchains/test_continue.py::test_two_add_at_once",
    "query/test_orphans.py",
    "cli/test_status.py",
)
"""What writes and reads every kind of node and asks every kind of question; all others with the variable."""


def test_profile_has_the_storage_asked_for(aiida_profile):
    assert aiida_profile.storage_backend == f"core.{os.environ.get(STORAGE_VARIABLE, 'sqlite_dos')}"


@pytest.mark.skipif(STORAGE_VARIABLE in os.environ, reason="the storage is chosen already")
@pytest.mark.skipif(postgres.problem() is not None, reason=str(postgres.problem()))
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_searches_run_on_postgresql():
    """In a process of its own: AiiDA has one storage for a session."""
    here = Path(__file__)
    tests = [str(ROOT / "tests" / name) for name in SUBSET]
    own = f"{here}::{test_profile_has_the_storage_asked_for.__name__}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", own, *tests]
    environment = {**os.environ, STORAGE_VARIABLE: "psql_dos"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout, done.stdout


@pytest.mark.skipif(postgres.problem() is not None, reason=str(postgres.problem()))
def test_server_leaves_nothing_behind():
    with postgres.database() as config:
        port = config["database_port"]
        command = [postgres.programs() / "pg_isready", "-h", postgres.HOST, "-p", str(port)]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
