"""Parser of the pool job."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ExitCode

from aiida_fuse2.worker.names import JOURNAL_FILE, POOL_FILE, PROGRESS_FILE, SUMMARY_FILE

from .base import WorkerParser


def _reasons(counts: dict[str, Any]) -> dict[str, int]:
    """Return why structures were not kept, with how many."""
    found: Counter[str] = Counter(counts.get("rejected", {}))
    found.update(counts.get("penalised", {}))
    found.update(counts.get("ranking", {}).get("dropped", {}))
    return dict(sorted(found.items()))


class GenerateParser(WorkerParser):
    """Turns pool and summary into nodes."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Parse the files of the job."""
        folder = self.temporary_folder(kwargs)
        pool, summary = folder / POOL_FILE, folder / SUMMARY_FILE
        if not (pool.exists() and summary.exists()):
            return self._unfinished(folder)
        try:
            counts = json.loads(summary.read_text())
        except json.JSONDecodeError as error:
            return self.exit_codes.ERROR_OUTPUT_UNREADABLE.format(reason=str(error))
        self.out("summary", orm.Dict(counts))
        if not counts["kept"]:
            return self.exit_codes.ERROR_EMPTY_POOL.format(reason=_reasons(counts))
        self.out("pool", orm.SinglefileData.from_string(pool.read_text(), filename=POOL_FILE))
        return None

    def _unfinished(self, folder: Path) -> ExitCode:
        """Keep what a job had finished when it ended early."""
        failure = self.failure()
        journal = folder / JOURNAL_FILE
        if failure.status == self.exit_codes.ERROR_INPUT_REFUSED.status or not journal.exists():
            return failure
        text = journal.read_text(errors="replace")
        finished = max(text.count("\n") - 1, 0)
        if not finished:
            return failure
        self.out("journal", orm.SinglefileData.from_string(text, filename=JOURNAL_FILE))
        total = "?"
        with suppress(OSError, ValueError, KeyError):
            total = json.loads((folder / PROGRESS_FILE).read_text())["units"]
        return self.exit_codes.ERROR_POOL_INCOMPLETE.format(finished=finished, total=total)
