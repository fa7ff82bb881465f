"""Parser of the job that learns pair potentials."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode

from aiida_fuse2.core.errors import error_text, shown_value
from aiida_fuse2.core.potentials.pair import read_library
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.core.training.pair_settings import LearnSettings
from aiida_fuse2.io.names import FRAMES_FILE, POTENTIAL_FILE, SUMMARY_FILE

from .base import WorkerParser
from .reading import read_structures, read_values


class LearnPotentialParser(WorkerParser):
    """Turns library, report and frames into nodes."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Parse the files of the job; the report is written last."""
        folder = self.temporary_folder(kwargs)
        if not (folder / SUMMARY_FILE).exists():
            return self.failure()
        unit = parse_settings(LearnSettings, self.node.inputs.settings.get_dict()).unit
        try:
            report = read_values(folder / SUMMARY_FILE)
            if report.get("composition") != unit.formula:
                raise ValueError(f"it was learned for {shown_value(report.get('composition'))}, not {unit.formula}")
            text = (folder / POTENTIAL_FILE).read_text()
            read_library(text, where=POTENTIAL_FILE).require(frozenset(unit.elements), where=POTENTIAL_FILE)
            if not read_structures(folder / FRAMES_FILE):
                raise ValueError(f"{FRAMES_FILE} holds no structure that can be read")
        except (ValueError, OSError) as error:
            return self.exit_codes.ERROR_OUTPUT_UNREADABLE.format(reason=error_text(error))
        self.out("report", orm.Dict(report))
        self.out("potential", orm.SinglefileData.from_string(text, filename=f"{unit.formula}.lib"))
        self.out("frames", orm.SinglefileData(folder / FRAMES_FILE, filename=FRAMES_FILE))
        return None
