"""The part of a search that handles its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.engine import ToContext

from aiida_fuse2.calculations.target_functions import target_trials
from aiida_fuse2.core.search.state import FoundTarget, SearchState
from aiida_fuse2.core.search.targets import TARGET_PREFIX
from aiida_fuse2.parsers.relax import EXTRAS_KEY
from aiida_fuse2.query.links import TARGETS_LINK
from aiida_fuse2.query.structures import find_structures
from aiida_fuse2.query.targets import found_text, group_text

from .base import SearchPart
from .job_outputs import problem_of, results_of, structures_of


class TargetsPart(SearchPart):
    """Steps of a search with its targets.

    In the context, ``targets`` has the UUID of each target by name and, if it was relaxed, its row of results.
    """

    def relax_targets(self) -> ToContext | None:
        """Submit the targets, so that their energies are known; they do not enter the search."""
        targets = self.inputs.get(TARGETS_LINK) or {}
        if not targets or not self.settings.target.relax:
            return None
        trials = target_trials(settings=self.inputs.settings, software=self.software(), **targets)
        return ToContext(target_job=self.submit_relaxation(trials, TARGETS_LINK))

    def take_targets(self) -> None:
        """Store the targets as relaxed, or as given if their relaxation failed."""
        job = self.ctx.get("target_job")
        rows, relaxed = ({}, {}) if job is None else (results_of(job), structures_of([job]))
        self.ctx.targets = {}
        for name, given in sorted((self.inputs.get(TARGETS_LINK) or {}).items()):
            label = TARGET_PREFIX + name
            node = relaxed.get(label)
            row = None if node is None else rows[label]
            self.ctx.targets[name] = {"uuid": (given if node is None else node).uuid, "row": row}
            if node is not None and row is not None:
                if EXTRAS_KEY in node.base.extras.all:  # these mark explored structures
                    node.base.extras.delete(EXTRAS_KEY)
                self.report(f"target {name}: {row['energy']:.4f} eV/atom, {group_text(row)}")
            elif job is not None:
                reason = rows[label]["status"] if label in rows else problem_of(job)
                self.report(f"target {name} could not be relaxed ({reason}): structures are compared with it as given")

    def target_uuids(self) -> dict[str, str]:
        """Return the UUIDs of the targets in the geometry used for comparison, by name."""
        return {name: target["uuid"] for name, target in self.ctx.targets.items()}

    def match_inputs(self, targets: Mapping[str, FoundTarget]) -> dict[str, orm.Data]:
        """Return the inputs of ``resume`` on targets that earlier searches had found."""
        rows = {name: [found.label, found.structure_number, found.energy] for name, found in targets.items()}
        nodes = {TARGET_PREFIX + name: orm.load_node(self.ctx.targets[name]["uuid"]) for name in targets}
        return {"matches": orm.Dict(rows), **self.nodes_found(targets), **nodes}

    def nodes_found(self, targets: Mapping[str, FoundTarget]) -> dict[str, orm.StructureData]:
        """Return the structures that equal targets, by label."""
        uuids = find_structures(self.node.pk, sorted({found.label for found in targets.values()}))
        return {label: orm.load_node(uuid) for label, uuid in uuids.items()}

    def targets_left(self) -> dict[str, orm.StructureData]:
        """Return the targets that have not been found, as inputs of ``decide``."""
        found = self.search_state().targets
        return {TARGET_PREFIX + n: orm.load_node(uuid) for n, uuid in self.target_uuids().items() if n not in found}

    def report_targets(self, state: SearchState, names: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Report targets that were found.

        Args:
            state: state after the generation.
            names: names of the targets.
            rows: space groups of the structures that equal them, by label.
        """
        for name in names:
            found, known = state.targets[name], self.ctx.targets[name]["row"]
            best = None if state.best is None else state.best.energy
            self.report(found_text(name, found, group_text(rows.get(found.label, {})), known, best))
