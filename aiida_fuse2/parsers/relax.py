"""Parser of the relaxation job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ExitCode
from ase import Atoms

from aiida_fuse2.core.errors import error_text, one_line, shown_value
from aiida_fuse2.core.relaxers.driver import DESCRIBED
from aiida_fuse2.core.relaxers.failures import CONVERGED, OF_THE_MACHINE, Failure
from aiida_fuse2.core.relaxers.results import RelaxationRules, judged_result
from aiida_fuse2.core.relaxers.tiers import TIER
from aiida_fuse2.core.search.trials import Trial
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.io.names import INTERMEDIATE, RELAXED_FILE, RESULTS_FILE, SOFTWARE_FILE
from aiida_fuse2.io.trials import select_trials, to_extxyz, trials_from_text

from .base import WorkerParser
from .reading import read_geometries, read_rows, read_values

EXTRAS_KEY = "fuse2"
"""Extra of an explored structure with the values that are asked for most."""

EXTRAS = (
    *DESCRIBED,
    "protostructure",
    "type",
    "label",
    "generation",
    "walker",
    "move",
    "origin",
    "parent",
    "prototype",
)


def read_software(folder: Path) -> dict[str, str]:
    """Return the versions of the packages that the job ran with, by name; empty if they are not known."""
    try:
        versions = read_values(folder / SOFTWARE_FILE)
    except ValueError:
        return {}
    return {name: version for name, version in versions.items() if isinstance(version, str)}


def structure_extras(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the extras of an explored structure, for cheap queries; the truth stays in the links.

    Args:
        row: origin of the trial, result of its relaxation and, if it is known, ``duplicate_of``.
    """
    tier = {TIER: row[TIER]} if row.get(TIER) else {}
    return {key: row[key] for key in EXTRAS if key in row} | tier | {"duplicate_of": row.get("duplicate_of") or ""}


class RelaxParser(WorkerParser):
    """Turns the results of a batch into nodes; a failed structure does not make the batch fail."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Parse the files of the job; a result that contradicts itself is a failure of its structure."""
        folder = self.temporary_folder(kwargs)
        trials = {t.info.label: t for t in self._trials()}
        try:
            rows, problems = read_rows(folder / RESULTS_FILE)
            frames = read_geometries(folder / RELAXED_FILE) if rows else {}
        except OSError as error:
            return self.exit_codes.ERROR_OUTPUT_UNREADABLE.format(reason=error_text(error))
        problems += [f"{shown_value(label)} is not a label of this job" for label in rows if label not in trials]
        if problems:
            self.logger.warning("not read: %s", one_line("; ".join(problems)))
        rules, source = self._rules()
        results: dict[str, dict[str, Any]] = {}
        geometries: dict[str, Atoms] = {}
        for label, trial in trials.items():
            if label in rows:
                found = judged_result(rows[label], frames.get(label, ()), trial.atoms, rules, source)
                results[label], geometries[label] = found
        if not results:
            return self._unread(problems)
        self._add_outputs(trials, results, geometries, read_software(folder))
        if any(row["status"] in OF_THE_MACHINE for row in results.values()):
            self.node.base.caching.is_valid_cache = False
        refused = [label for label, row in results.items() if row["status"] == Failure.BAD_RESULT]
        if refused:
            reason = f"{refused[0]}: {results[refused[0]]['detail']}"
            return self.exit_codes.ERROR_RESULTS_REFUSED.format(bad=len(refused), total=len(trials), reason=reason)
        missing = len(trials) - len(results)
        if missing:
            said = one_line(self.said().rpartition("\n")[2])
            reason = f" ({said})" if said else ""
            return self.exit_codes.ERROR_RESULTS_INCOMPLETE.format(missing=missing, total=len(trials), reason=reason)
        return None

    def _unread(self, problems: list[str]) -> ExitCode:
        """Return the exit code of a job without any result."""
        failure = self.failure()
        if not problems or failure.status == self.exit_codes.ERROR_INPUT_REFUSED.status:
            return failure
        return self.exit_codes.ERROR_OUTPUT_UNREADABLE.format(reason=one_line(problems[0]))

    def _rules(self) -> tuple[RelaxationRules, str]:
        """Return the settings that results are checked against, and the calculator."""
        settings = parse_settings(RelaxSettings, self.node.inputs.settings.get_dict())
        return settings, settings.calculator

    def _trials(self) -> list[Trial]:
        labels = self.node.inputs.labels.get_list() if "labels" in self.node.inputs else None
        return select_trials(trials_from_text(self.node.inputs.trials.get_content()), labels)

    def _add_outputs(
        self,
        trials: dict[str, Trial],
        results: dict[str, dict[str, Any]],
        geometries: dict[str, Atoms],
        software: dict[str, str],
    ) -> None:
        self.out("results", orm.Dict({"by_label": results, "software": software}))
        ordered = [(geometries[label], {"label": label, "status": results[label]["status"]}) for label in results]
        self.out("relaxed", orm.SinglefileData.from_string(to_extxyz(ordered), filename=RELAXED_FILE))
        if self.node.get_option(INTERMEDIATE):
            return
        for label, row in results.items():
            if row["status"] != CONVERGED:
                continue
            node = orm.StructureData(ase=geometries[label])
            node.label = label
            node.base.extras.set(EXTRAS_KEY, structure_extras({**trials[label].info.to_dict(), **row}))
            self.out(f"structures.{label}", node)
