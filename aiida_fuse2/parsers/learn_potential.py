"""Parser of the job that learns pair potentials."""

from __future__ import annotations

import json
from typing import Any

from aiida import orm
from aiida.engine import ExitCode

from aiida_fuse2.worker.names import FRAMES_FILE, POTENTIAL_FILE, SUMMARY_FILE

from .base import WorkerParser


class LearnPotentialParser(WorkerParser):
    """Turns library, report and frames into nodes."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Parse the files of the job; the report is written last."""
        folder = self.temporary_folder(kwargs)
        if not (folder / SUMMARY_FILE).exists():
            return self.failure()
        try:
            report = json.loads((folder / SUMMARY_FILE).read_text())
        except json.JSONDecodeError as error:
            return self.exit_codes.ERROR_OUTPUT_UNREADABLE.format(reason=str(error))
        self.out("report", orm.Dict(report))
        name = f"{report['composition']}.lib"
        self.out("potential", orm.SinglefileData.from_string((folder / POTENTIAL_FILE).read_text(), filename=name))
        self.out("frames", orm.SinglefileData.from_string((folder / FRAMES_FILE).read_text(), filename=FRAMES_FILE))
        return None
