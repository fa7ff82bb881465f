"""Parser of the pool job."""

from __future__ import annotations

import json
from typing import Any

from aiida import orm
from aiida.engine import ExitCode

from aiida_fuse2.worker.names import POOL_FILE, SUMMARY_FILE

from .base import WorkerParser


class GenerateParser(WorkerParser):
    """Turns pool and summary into nodes."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Parse the files of the job."""
        folder = self.temporary_folder(kwargs)
        pool, summary = folder / POOL_FILE, folder / SUMMARY_FILE
        if not (pool.exists() and summary.exists()):
            return self.failure()
        try:
            counts = json.loads(summary.read_text())
        except json.JSONDecodeError as error:
            return self.exit_codes.ERROR_OUTPUT_UNREADABLE.format(reason=str(error))
        self.out("summary", orm.Dict(counts))
        if not counts["kept"]:
            return self.exit_codes.ERROR_EMPTY_POOL.format(reason=counts["rejected"])
        self.out("pool", orm.SinglefileData.from_string(pool.read_text(), filename=POOL_FILE))
        return None
