"""The common base of the parsers of this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiida.engine import ExitCode
from aiida.parsers import Parser

from aiida_fuse2.core.errors import one_line, printable, shown_value
from aiida_fuse2.io.names import ERROR_FILE, STDERR_FILE

from .reading import MAX_BYTES

MAX_REASON = 400
"""Longest excerpt of the standard error in an exit message, characters."""


class WorkerParser(Parser):
    """Reads the files that ``aiida-fuse2-worker`` wrote."""

    def temporary_folder(self, kwargs: dict[str, Any]) -> Path:
        """Return the folder of the files that are not kept."""
        return Path(kwargs["retrieved_temporary_folder"])

    def failure(self) -> ExitCode:
        """Return the exit code of a job without results: refused input, or another cause."""
        names = self.retrieved.base.repository.list_object_names()
        if ERROR_FILE in names:
            reason = refusal(self._content(ERROR_FILE))
            return self.exit_codes.ERROR_INPUT_REFUSED.format(reason=reason)
        reason = "nothing was retrieved; see the output of the scheduler"
        if STDERR_FILE in names:
            reason = self.said() or "it stopped without a message"
        return self.exit_codes.ERROR_WORKER_DID_NOT_RUN.format(reason=reason)

    def said(self) -> str:
        """Return the end of the error output of the worker."""
        if STDERR_FILE not in self.retrieved.base.repository.list_object_names():
            return ""
        return "\n".join(map(printable, self._content(STDERR_FILE).strip()[-MAX_REASON:].splitlines()))

    def _content(self, name: str) -> str:
        """Return a file as text, whatever its content."""
        with self.retrieved.base.repository.open(name, "rb") as handle:
            return handle.read(MAX_BYTES).decode(errors="replace")


def refusal(text: str) -> str:
    """Return the message of the worker about an input that it refused."""
    try:
        error = json.loads(text)
        reason = f"{error['field']} = {error['value']}: {error['expected']}"
    except (ValueError, TypeError, KeyError, RecursionError):
        reason = f"{ERROR_FILE} only says {shown_value(text)}"
    return one_line(reason)
