"""Parser of the training job."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode

from aiida_fuse2.core.errors import error_text
from aiida_fuse2.core.potentials.megnet.archive import read_archive_file
from aiida_fuse2.io.names import SUMMARY_FILE, TRAINED_FILE, WEIGHTS_FILE
from aiida_fuse2.parsers.memory import model_part, remember

from .base import WorkerParser
from .reading import read_values


class TrainParser(WorkerParser):
    """Turns weights and summary into nodes."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Parse the files of the job."""
        folder = self.temporary_folder(kwargs)
        weights, summary = folder / TRAINED_FILE, folder / SUMMARY_FILE
        if not (weights.exists() and summary.exists()):
            return self.failure()
        try:
            counts = read_values(summary)
            digest = read_archive_file(weights).digest
            if counts.get("weights_sha256") != digest:
                raise ValueError(f"{SUMMARY_FILE} does not belong to the weights in {TRAINED_FILE}")
        except ValueError as error:
            return self.exit_codes.ERROR_OUTPUT_UNREADABLE.format(reason=error_text(error))
        self.out("summary", orm.Dict(counts))
        node = orm.SinglefileData(weights, filename=WEIGHTS_FILE)
        remember([model_part(node)])  # trained here
        self.out("weights", node)
        return None
