"""Fixtures of the worker: jobs that are run inside the process of the tests."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


@pytest.fixture(autouse=True)
def no_end_of_this_process(monkeypatch):
    """Keep a job inside this process from ending it, tests and all, where a busy machine lets its time run out."""
    idle = SimpleNamespace(dump_traceback_later=lambda *_, **__: None, cancel_dump_traceback_later=lambda: None)
    monkeypatch.setattr("aiida_fuse2.worker.wall_time.faulthandler", idle)
