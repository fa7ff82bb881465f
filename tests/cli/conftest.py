"""Fixtures of the command line: how commands are called."""

from __future__ import annotations

import pytest
from click.testing import CliRunner


@pytest.fixture(autouse=True)
def in_a_profile(aiida_profile):
    """Every command has the profile of the tests."""


@pytest.fixture
def call(aiida_profile):
    """A function that calls the command with arguments in the profile of the tests."""
    from aiida_fuse2.cli import cmd_root

    def run(*arguments, code=0):
        result = CliRunner().invoke(cmd_root, [str(a) for a in arguments])
        shown = result.exception if result.exception and not isinstance(result.exception, SystemExit) else None
        assert code in {None, result.exit_code}, (result.output, shown)
        return result

    return run


@pytest.fixture
def daemon_up(monkeypatch):
    """Pretend that the daemon runs."""
    monkeypatch.setattr("aiida_fuse2.environment.daemon.require_daemon", lambda: None)
    monkeypatch.setattr("aiida_fuse2.cli.views.progress.daemon_problem", lambda: None)
