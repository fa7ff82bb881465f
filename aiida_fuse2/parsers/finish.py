"""Parser of the finishing job."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode
from ase import Atoms

from aiida_fuse2.core.answer.results import bad_ladder, read_ladder
from aiida_fuse2.core.errors import RelaxationError, error_text, one_line, shown_value
from aiida_fuse2.core.relaxers.failures import OF_THE_MACHINE, Failure
from aiida_fuse2.io.names import RESULTS_FILE, RUNGS_FILE
from aiida_fuse2.io.trials import select_trials, to_extxyz, trials_from_text

from .base import WorkerParser
from .reading import read_geometries, read_rows
from .relax import read_software


class FinishParser(WorkerParser):
    """Turns the ladders of a batch into nodes; a structure that failed does not make the batch fail."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Parse the files of the job; a ladder that contradicts itself is a failure of its structure."""
        folder = self.temporary_folder(kwargs)
        labels = self.node.inputs.labels.get_list() if "labels" in self.node.inputs else None
        trials = {
            t.info.label: t for t in select_trials(trials_from_text(self.node.inputs.trials.get_content()), labels)
        }
        try:
            rows, problems = read_rows(folder / RESULTS_FILE)
            frames = read_geometries(folder / RUNGS_FILE) if rows else {}
        except OSError as error:
            return self.exit_codes.ERROR_OUTPUT_UNREADABLE.format(reason=error_text(error))
        problems += [f"{shown_value(label)} is not a label of this job" for label in rows if label not in trials]
        if problems:
            self.logger.warning("not read: %s", one_line("; ".join(problems)))
        known = [label for label in trials if label in rows]
        if not known:
            failure = self.failure()
            is_unreadable = problems and failure.status != self.exit_codes.ERROR_INPUT_REFUSED.status
            reason = one_line(problems[0]) if problems else ""
            return self.exit_codes.ERROR_OUTPUT_UNREADABLE.format(reason=reason) if is_unreadable else failure
        found = {label: self._judged(rows[label], frames.get(label, []), trials[label].atoms) for label in known}
        self._add_outputs(found, read_software(folder))
        return self._exit_code({label: row for label, (row, _) in found.items()}, len(trials))

    def _judged(
        self, rows: list[dict[str, Any]], frames: list[Atoms], start: Atoms
    ) -> tuple[dict[str, Any], list[Atoms]]:
        """Return values and geometries of a structure; a failure without geometries if they contradict each other."""
        ordered = sorted(frames, key=lambda frame: str(frame.info.get("rung")).zfill(4))
        try:
            if len(rows) != 1:
                raise RelaxationError(Failure.BAD_RESULT, f"its label occurs {len(rows)} times among the results")
            ladder = read_ladder(rows[0], ordered, start, self.node.inputs.relax["calculator"])
        except RelaxationError as error:
            return bad_ladder(error), []
        return ladder.to_dict(), [rung.atoms for rung in ladder.rungs]

    def _add_outputs(self, found: dict[str, tuple[dict[str, Any], list[Atoms]]], software: dict[str, str]) -> None:
        self.out("results", orm.Dict({"by_label": {k: row for k, (row, _) in found.items()}, "software": software}))
        frames = [
            (atoms, {"label": label, "rung": number})
            for label, (_, geometries) in found.items()
            for number, atoms in enumerate(geometries)
        ]
        self.out("rungs", orm.SinglefileData.from_string(to_extxyz(frames), filename=RUNGS_FILE))

    def _exit_code(self, rows: dict[str, dict[str, Any]], total: int) -> ExitCode | None:
        if any(row["status"] in OF_THE_MACHINE for row in rows.values()):
            self.node.base.caching.is_valid_cache = False
        refused = [label for label, row in rows.items() if row["status"] == Failure.BAD_RESULT]
        if refused:
            reason = f"{refused[0]}: {rows[refused[0]]['detail']}"
            return self.exit_codes.ERROR_RESULTS_REFUSED.format(bad=len(refused), total=total, reason=reason)
        missing = total - len(rows)
        if missing:
            said = one_line(self.said().rpartition("\n")[2])
            reason = f" ({said})" if said else ""
            return self.exit_codes.ERROR_RESULTS_INCOMPLETE.format(missing=missing, total=total, reason=reason)
        return None
