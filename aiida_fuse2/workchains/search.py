"""The search: one WorkChain that loops generations of basin hopping (``fuse2.search``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from aiida import orm
from aiida.common.extendeddicts import AttributeDict
from aiida.engine import ExitCode, ToContext, if_, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_fuse2.calculations.conversions import RELAXED_PREFIX, RESULTS_PREFIX, columns_to_rows, numbers_of_atoms
from aiida_fuse2.calculations.finish_functions import ANSWER
from aiida_fuse2.calculations.functions import begin, decide, propose, resume, summarise
from aiida_fuse2.core.crystal.uniqueness import decode_fingerprint
from aiida_fuse2.core.relaxers.failures import CONVERGED, KNOWN
from aiida_fuse2.core.search.recognition import ExploredIndex
from aiida_fuse2.core.search.state import SearchState, fit_state
from aiida_fuse2.environment.trust import parts_of
from aiida_fuse2.parsers.memory import remember
from aiida_fuse2.parsers.relax import EXTRAS_KEY
from aiida_fuse2.query.chain import generation_records
from aiida_fuse2.query.orphans import seal_orphans
from aiida_fuse2.query.stopping import stop_request
from aiida_fuse2.query.structures import explored_structures, find_structures
from aiida_fuse2.query.targets import find_earlier
from aiida_fuse2.storage.disk import least_free

from .answering import finish_builder
from .generation import GenerationPart
from .job_outputs import complete_extras, remove_folders, structures_of
from .known import TargetsPart
from .pool import PoolPart
from .search_builder import get_builder_from_protocol
from .search_inputs import define_inputs

MAX_BARREN = 3
"""A search ends after this many generations in a row for which no trial could be made."""


class Fuse2WorkChain(TargetsPart, PoolPart, GenerationPart):
    """Predicts the crystal structure of a composition by FUSE2 basin hopping."""

    _index: ExploredIndex | None = None
    """Explored structures so far; rebuilt from the records after a restart, never stored."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        define_inputs(spec)
        spec.outline(
            cls.relax_targets,
            cls.setup,
            while_(cls.should_continue)(
                cls.take_added,
                while_(cls.should_fill_pool)(cls.fill_pool, cls.inspect_pool),
                cls.propose_generation,
                while_(cls.should_relax)(cls.relax_trials, cls.inspect_relaxation),
                cls.decide_generation,
            ),
            if_(cls.should_finish)(cls.finish_search),
            cls.finalise,
        )
        cls._define_outputs(spec)

    @classmethod
    def _define_outputs(cls, spec: WorkChainSpec) -> None:
        spec.output("structure", valid_type=orm.StructureData, required=False, help="The structure of lowest energy.")
        spec.output("energy", valid_type=orm.Float, required=False, help="Its energy (enthalpy), eV/atom.")
        spec.output(
            "ranked", valid_type=orm.Dict, required=False, help="Unique explored structures, lowest energy first."
        )
        spec.output(
            "history",
            valid_type=orm.ArrayData,
            required=False,
            help="History of all trials: one row per trial, one array per column.",
        )
        spec.output(
            "state", valid_type=orm.Dict, required=False, help="The last state: counters, walkers, the best structure."
        )
        spec.output(
            ANSWER, valid_type=orm.Dict, required=False, help="Phases among the best structures, see `fuse2.finish`."
        )
        spec.exit_code(201, "ERROR_STATE_UNUSABLE", message="The search cannot continue from its state: {reason}")
        spec.exit_code(
            301, "ERROR_RELAXATION_JOB_FAILED", message="The relaxation jobs give no results (any more): {reason}"
        )
        spec.exit_code(302, "ERROR_GENERATION_JOB_FAILED", message="The pool could not be filled: {reason}")
        spec.exit_code(303, "ERROR_DISK_NEARLY_FULL", message="{reason}")
        spec.exit_code(401, "ERROR_NO_STRUCTURE", message="No trial could be relaxed; failures: {reason}")
        spec.exit_code(402, "ERROR_NO_TRIALS", message="No trial could be made; rejected attempts: {reason}")
        spec.exit_code(700, "STOPPED_ON_REQUEST", message="Stopped on request after {reason} structures.")
        spec.exit_code(701, "BUDGET_SPENT", message="{reason} was reached before any structure had been relaxed.")

    get_builder_from_protocol = classmethod(get_builder_from_protocol)

    def on_create(self) -> None:
        """Store what is run here, to distinguish it from the contents of archives."""
        super().on_create()
        remember(parts_of(self.node))

    # --- outline ------------------------------------------------------------------------------------

    def setup(self) -> None:
        """Start from the first state, or from that of an earlier search.

        The group is made here, so that it exists from the beginning.
        """
        self.ctx.failure = self.ctx.limit = None
        self.ctx.is_cut_short = False
        self.ctx.structures = {}
        self.ctx.counts = AttributeDict({"barren": 0, "died": 0})
        self.begin_pool()
        self.group()
        self.take_targets()
        if "state" in self.inputs:
            self._continue_earlier()
            return
        settings = self.settings
        policy = {"policy": self.inputs.policy} if "policy" in self.inputs else {}
        self.ctx.state = begin(settings=self.inputs.settings, software=self.software(), **policy).uuid
        self.report(f"searching {settings.composition}: {settings.starts_text} starts, seed {settings.seed}")

    def _continue_earlier(self) -> None:
        """Continue from a state of an earlier search."""
        node, settings = self.inputs.state, self.settings
        given = SearchState.from_dict(node.get_dict())
        found = find_structures(self.node.pk, given.labels_needed)
        structures = {label: orm.load_node(uuid) for label, uuid in found.items()}
        n_atoms = numbers_of_atoms(structures)
        too_large = sorted(label for label, number in n_atoms.items() if number > settings.max_atoms)
        if too_large:
            self.report(f"more than {settings.max_atoms} atoms, so their walkers begin anew: {', '.join(too_large)}")
        targets = find_earlier(self.node.pk, self.target_uuids(), settings.target.stol)
        state = replace(fit_state(given, settings, n_atoms), targets=targets)
        if state != given:
            matches = {} if targets == given.targets else self.match_inputs(targets)
            node = resume(
                settings=self.inputs.settings, state=node, software=self.software(), **{**structures, **matches}
            )
        self.ctx.state = node.uuid
        self.ctx.structures = {label: found[label] for label in state.labels_needed if label in found}
        missing = sorted(set(state.labels_needed) - set(self.ctx.structures))
        if missing:
            reason = f"structures are missing in the graph: {', '.join(missing)}"
            self.ctx.failure = ["ERROR_STATE_UNUSABLE", reason]
        self.continue_pool(state)
        earlier = [found["pk"] for found in explored_structures(self.node.pk).values()]
        if earlier:
            self.group().add_nodes([orm.load_node(pk) for pk in earlier])
        self.report(
            f"searching {settings.composition}: continues with generation {state.generation}, seed {settings.seed}"
        )
        rows = {label: node.base.extras.get(EXTRAS_KEY, {}) for label, node in self.nodes_found(targets).items()}
        self.report_targets(state, sorted(targets), rows)

    def should_continue(self) -> bool:
        """Return whether another generation is wanted and possible."""
        self.ctx.limit = None
        if self.ctx.failure is not None or self.ctx.is_cut_short or self.ctx.counts.barren >= MAX_BARREN:
            return False
        state = self.search_state()
        self.ctx.limit = self._limit_reached(state)
        if self.ctx.limit is not None:
            self.report(f"ends: {self.ctx.limit} is reached")
        elif self.settings.target.stop and state.targets:
            self.ctx.limit = f"target {', '.join(sorted(state.targets))}"
            self.report(f"ends: {self.ctx.limit} is found")
        return self.ctx.limit is None and self._has_room() and stop_request(self.node.pk) is None

    def _has_room(self) -> bool:
        """Return whether there is space for another generation; the remaining space is for the results."""
        free, folder = least_free()
        least = self.settings.min_free_disk
        if free / 1e9 < least:
            reason = f"{free / 1e9:.2f} GB free in {folder}, less than settings.min_free_disk = {least:g}"
            self.report(f"ends: {reason}; make room")
            self.ctx.failure = ["ERROR_DISK_NEARLY_FULL", f"{reason}; make room, then continue"]
        return self.ctx.failure is None

    def _limit_reached(self, state: SearchState) -> str | None:
        """Return which limit a search has reached, or None."""
        settings = self.settings
        hours = (datetime.now(tz=UTC) - self.node.ctime).total_seconds() / 3600
        if state.tried >= settings.max_structures:
            return f"max_structures = {settings.max_structures}"
        if state.since_best >= settings.rmax:
            return f"rmax = {settings.rmax}"
        if state.watch.has_ended(settings):
            return f"stop_chance = {settings.stop_chance:g}"
        if settings.max_cpu_hours is not None and state.cpu_seconds / 3600 >= settings.max_cpu_hours:
            return f"max_cpu_hours = {settings.max_cpu_hours:g}"
        if settings.max_wall_hours is not None and hours >= settings.max_wall_hours:
            return f"max_wall_hours = {settings.max_wall_hours:g}"
        return None

    def propose_generation(self) -> None:
        """Propose the trials of a generation."""
        if self.ctx.failure is not None or self.ctx.is_cut_short:
            return
        arguments: dict[str, orm.Data] = {"settings": self.inputs.settings, "state": orm.load_node(self.ctx.state)}
        if self.ctx.pool.node is not None:
            arguments["pool"] = orm.load_node(self.ctx.pool.node)
        structures = {label: orm.load_node(uuid) for label, uuid in self.ctx.structures.items()}
        outputs = propose(**arguments, software=self.software(), **structures)
        self.begin_generation(outputs["trials"], outputs["proposal"], self._explored())

    def decide_generation(self) -> None:
        """Decide on the relaxed trials, and store the values that the next generation needs."""
        if self.ctx.failure is not None or self.ctx.is_cut_short:
            return
        jobs, present = self.jobs_of_generation(), self.ctx.generation
        results = [job.outputs.results for job in jobs]
        outputs = decide(
            settings=self.inputs.settings,
            state=orm.load_node(self.ctx.state),
            trials=orm.load_node(present.trials),
            proposal=orm.load_node(present.proposal),
            software=self.software(),
            **({} if present.known is None else {"known": orm.load_node(present.known)}),
            **self.own_prototypes(),
            **{f"{RESULTS_PREFIX}{i:02d}": node for i, node in enumerate(results)},
            **{f"{RELAXED_PREFIX}{i:02d}": job.outputs.relaxed for i, job in enumerate(jobs)},
            **self._candidates(results),
            **self.targets_left(),
        )
        self._take_over(outputs["state"], outputs["record"].get_dict(), structures_of(jobs))

    def should_finish(self) -> bool:
        """Return whether the phases among the best structures are to be found."""
        is_at_its_end = self.ctx.limit is not None and self.ctx.failure is None
        return is_at_its_end and stop_request(self.node.pk) is None and self.search_state().best is not None

    def finish_search(self) -> ToContext | None:
        """Submit the finish of the best structures, if the worker computes their energies."""
        builder = finish_builder([self.node], self.inputs, self.settings.finish)
        return None if builder is None else ToContext(finish=self.submit(builder))

    def finalise(self) -> ExitCode | None:
        """Attach the outputs; a search that ended badly keeps the structures that it has found."""
        seal_orphans(self.node)
        state = self.search_state()
        records = {
            f"generation_{i:05d}": orm.load_node(r.record)
            for i, r in enumerate(generation_records(self.node.pk, self.ctx.state))
        }
        if records:
            state_node = orm.load_node(self.ctx.state)
            outputs = summarise(settings=self.inputs.settings, state=state_node, software=self.software(), **records)
            self.out_many(outputs)
            self.out("state", state_node)
        if state.best is not None:
            found = find_structures(self.node.pk, [state.best.label])
            self.out("structure", orm.load_node(found[state.best.label]))
        finish = self.ctx.get("finish")
        if finish is not None and ANSWER in finish.outputs:
            self.out(ANSWER, finish.outputs[ANSWER])
        if finish is not None and not finish.is_finished_ok:
            self.report(f"there is no answer: {finish.exit_message or finish.process_state.value}")
        if self.inputs.clean_workdir.value:
            remove_folders(self.node)
        return self._exit_code(state)

    def _exit_code(self, state: SearchState) -> ExitCode | None:
        if self.ctx.failure is not None:
            name, reason = self.ctx.failure
            return self.exit_codes[name].format(reason=reason)
        if self.ctx.counts.barren >= MAX_BARREN:
            return self.exit_codes.ERROR_NO_TRIALS.format(reason=state.rejections)
        if self.ctx.limit is None:
            return self.exit_codes.STOPPED_ON_REQUEST.format(reason=state.tried)
        if state.best is not None:
            return None
        if state.tried:
            return self.exit_codes.ERROR_NO_STRUCTURE.format(reason=state.failures)
        return self.exit_codes.BUDGET_SPENT.format(reason=self.ctx.limit)

    # --- from one generation to the next --------------------------------------------------------------

    def _explored(self) -> ExploredIndex:
        """Return the explored structures."""
        if self._index is None:
            self._index = ExploredIndex()
            for generation in generation_records(self.node.pk, self.ctx.state):
                self._index.add_rows(columns_to_rows(generation.columns))
        return self._index

    def _candidates(self, results: Sequence[orm.Dict]) -> dict[str, orm.Data]:
        """Return the earlier structures that the relaxed ones may equal, as inputs of ``decide``."""
        index, window = self._explored().unique, self.settings.uniqueness.energy_window
        by_label = {}
        for node in results:
            for label, row in node["by_label"].items():
                if row["status"] == CONVERGED:
                    near = index.near(row["energy"], decode_fingerprint(row["fingerprint"]), window)
                    if near:
                        by_label[label] = near
        if not by_label:
            return {}
        uuids = find_structures(self.node.pk, sorted({c for near in by_label.values() for c in near}))
        structures = {label: orm.load_node(uuid) for label, uuid in uuids.items()}
        return {"candidates": orm.Dict({"by_label": by_label}), **structures}

    def _take_over(
        self, state_node: orm.Dict, record: dict[str, list[Any]], structures: dict[str, orm.StructureData]
    ) -> None:
        """Make a decided state the current one, and mark its structures for cheap queries."""
        rows = columns_to_rows(record)
        if self._index is not None:  # otherwise it will be read from the records, with these rows
            self._index.add_rows(rows)
        if structures:
            self.group().add_nodes(list(structures.values()))
        complete_extras(rows, structures)
        state = SearchState.from_dict(state_node.get_dict())
        uuids = {**self.ctx.structures, **{label: node.uuid for label, node in structures.items()}}
        missing = [label for label in state.labels_needed if label not in uuids]  # a walker moved to a known structure
        uuids.update(find_structures(self.node.pk, missing))
        self.ctx.structures = {label: uuids[label] for label in state.labels_needed}
        self.ctx.state = state_node.uuid
        if self.ctx.pool.node is not None:
            self.ctx.pool.left = state.pool_remaining
        self._report_generation(state, rows)
        fresh = [name for name, found in state.targets.items() if found.label in record["label"]]
        self.report_targets(state, fresh, {row["label"]: row for row in rows})

    def _report_generation(self, state: SearchState, rows: Sequence[Mapping[str, Any]]) -> None:
        known = sum(row["status"] == KNOWN for row in rows)
        failed = sum(row["status"] != CONVERGED for row in rows) - known
        best = "none yet" if state.best is None else f"{state.best.energy:.4f} eV/atom"
        self.report(
            f"generation {state.generation - 1}: {len(rows) - known} relaxed, {failed} failed"
            f"{f', {known} known before' if known else ''}; best {best}; "
            f"{state.tried} of {self.settings.max_structures} structures"
        )
