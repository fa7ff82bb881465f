"""Parser of the relaxation job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ExitCode
from ase import Atoms

from aiida_fuse2.core.decision import CONVERGED
from aiida_fuse2.core.relaxers.driver import DESCRIBED
from aiida_fuse2.core.relaxers.failures import OF_THE_MACHINE
from aiida_fuse2.core.tiers import TIER
from aiida_fuse2.core.trials import Trial
from aiida_fuse2.worker.files import from_extxyz, select_trials, to_extxyz, trials_from_text
from aiida_fuse2.worker.names import INTERMEDIATE, RELAXED_FILE, RESULTS_FILE, SOFTWARE_FILE

from .base import WorkerParser

EXTRAS_KEY = "fuse2"
"""Extra of an explored structure that holds what is asked for most."""

EXTRAS = (*DESCRIBED, "label", "generation", "walker", "move", "origin", "parent")


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results of each complete line, by label; a line cut off by a kill is left out."""
    path = folder / RESULTS_FILE
    rows: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row.pop("label")] = row
    return rows


def read_geometries(folder: Path, labels: set[str]) -> dict[str, Atoms]:
    """Return the geometries of ``labels``; each was written before its line of results."""
    path = folder / RELAXED_FILE
    text = path.read_text() if path.exists() else ""
    complete = _complete_frames(text)
    frames = {str(frame.info["label"]): frame for frame in from_extxyz(complete)}
    return {label: frames[label] for label in labels}


def read_software(folder: Path) -> dict[str, str]:
    """Return the versions of the packages that the job ran with, by name; empty where they are not known."""
    path = folder / SOFTWARE_FILE
    try:
        versions: dict[str, str] = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return {}
    return versions


def _complete_frames(text: str) -> str:
    """Return the text without a last frame that was cut off."""
    lines = text.splitlines(keepends=True)
    position = 0
    while position < len(lines) and lines[position].strip().isdigit():
        end = position + 2 + int(lines[position])
        if end > len(lines) or not lines[end - 1].endswith("\n"):
            break
        position = end
    return "".join(lines[:position])


def structure_extras(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the extras of an explored structure: cheap to ask; the truth stays in the links.

    Args:
        row: where the trial came from, what relaxing it gave and, once it is known, ``duplicate_of``.
    """
    tier = {TIER: row[TIER]} if row.get(TIER) else {}
    return {key: row[key] for key in EXTRAS} | tier | {"duplicate_of": row.get("duplicate_of") or ""}


class RelaxParser(WorkerParser):
    """Turns the results of a batch into nodes; a failed structure does not fail the batch."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Parse the files of the job."""
        folder = self.temporary_folder(kwargs)
        trials = {t.info.label: t for t in self._trials()}
        try:
            found = read_results(folder)
            results = {label: found[label] for label in trials if label in found}  # in the order of the trials
            geometries = read_geometries(folder, set(results))
        except (KeyError, ValueError, OSError) as error:
            return self.exit_codes.ERROR_OUTPUT_UNREADABLE.format(reason=f"{type(error).__name__}: {error}")
        if not results:
            return self.failure()
        self._add_outputs(trials, results, geometries, read_software(folder))
        if any(row["status"] in OF_THE_MACHINE for row in results.values()):
            self.node.base.caching.is_valid_cache = False
        missing = len(trials) - len(results)
        if missing:
            return self.exit_codes.ERROR_RESULTS_INCOMPLETE.format(missing=missing, total=len(trials))
        return None

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
