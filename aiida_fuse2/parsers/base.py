"""What the parsers of this package share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiida.engine import ExitCode
from aiida.parsers import Parser

from aiida_fuse2.worker.names import ERROR_FILE, STDERR_FILE

MAX_REASON = 400
"""Longest excerpt of the standard error in an exit message, characters."""


class WorkerParser(Parser):
    """Reads what ``aiida-fuse2-worker`` wrote."""

    def temporary_folder(self, kwargs: dict[str, Any]) -> Path:
        """Return the folder of the files that are not kept."""
        return Path(kwargs["retrieved_temporary_folder"])

    def failure(self) -> ExitCode:
        """Return the exit code of a job without results: refused input, or whatever stopped it."""
        names = self.retrieved.base.repository.list_object_names()
        if ERROR_FILE in names:
            error = json.loads(self.retrieved.base.repository.get_object_content(ERROR_FILE))
            reason = f"{error['field']} = {error['value']}: {error['expected']}"
            return self.exit_codes.ERROR_INPUT_REFUSED.format(reason=reason)
        reason = "nothing was retrieved; see the output of the scheduler"
        if STDERR_FILE in names:
            stderr = self.retrieved.base.repository.get_object_content(STDERR_FILE).strip()
            reason = stderr[-MAX_REASON:] or "it stopped without a word"
        return self.exit_codes.ERROR_WORKER_DID_NOT_RUN.format(reason=reason)
