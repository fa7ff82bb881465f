"""Parser of the training job."""

from __future__ import annotations

import json
from typing import Any

from aiida import orm
from aiida.engine import ExitCode

from aiida_fuse2.trust import model_part, remember
from aiida_fuse2.worker.names import SUMMARY_FILE, TRAINED_FILE, WEIGHTS_FILE

from .base import WorkerParser


class TrainParser(WorkerParser):
    """Turns weights and summary into nodes."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Parse the files of the job."""
        folder = self.temporary_folder(kwargs)
        weights, summary = folder / TRAINED_FILE, folder / SUMMARY_FILE
        if not (weights.exists() and summary.exists()):
            return self.failure()
        try:
            counts = json.loads(summary.read_text())
        except json.JSONDecodeError as error:
            return self.exit_codes.ERROR_OUTPUT_UNREADABLE.format(reason=str(error))
        self.out("summary", orm.Dict(counts))
        node = orm.SinglefileData(weights, filename=WEIGHTS_FILE)
        remember([model_part(node)])  # trained here
        self.out("weights", node)
        return None
