"""Fixtures of the command line: how commands are called."""

from __future__ import annotations

import pytest
from aiida.common import log
from click.testing import CliRunner


@pytest.fixture(autouse=True)
def logging_as_before(aiida_profile):
    """Undo what a command does to the logging of its process: it would keep reports of searches from being stored."""
    yield
    log.CLI_ACTIVE = log.CLI_LOG_LEVEL = None
    log.configure_logging(with_orm=True)


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
