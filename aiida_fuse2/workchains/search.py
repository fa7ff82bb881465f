"""The search: one WorkChain that loops generations of basin hopping (``fuse2.search``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, ToContext, WorkChain, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_fuse2.calculations.conversions import (
    RELAXED_PREFIX,
    RESULTS_PREFIX,
    candidates_to_dict,
    columns_to_rows,
    numbers_of_atoms,
    pool_number,
    recognised,
)
from aiida_fuse2.calculations.functions import add_to_pool, begin, decide, propose, recognise, resume, summarise
from aiida_fuse2.calculations.generate import GenerateCalculation
from aiida_fuse2.calculations.relax import RelaxCalculation
from aiida_fuse2.calculations.target_functions import target_trials
from aiida_fuse2.core.crystal.uniqueness import decode_fingerprint
from aiida_fuse2.core.relaxers.failures import CONVERGED, KNOWN, Failure
from aiida_fuse2.core.search.batches import number_of_jobs
from aiida_fuse2.core.search.recognition import ExploredIndex, known_candidates
from aiida_fuse2.core.search.state import FoundTarget, SearchState, fit_state
from aiida_fuse2.core.search.targets import TARGET_PREFIX
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.environment.software import add_versions, is_caching_used, software_node, worker_software
from aiida_fuse2.environment.trust import parts_of
from aiida_fuse2.io.trials import trials_from_text
from aiida_fuse2.parsers.memory import remember
from aiida_fuse2.parsers.relax import EXTRAS_KEY
from aiida_fuse2.query.chain import continued_search, generation_records
from aiida_fuse2.query.links import GROUP_PREFIX, TARGETS_LINK
from aiida_fuse2.query.orphans import seal_orphans
from aiida_fuse2.query.pools import added_files, pool_of_state
from aiida_fuse2.query.stopping import STOP_NOW, stop_request
from aiida_fuse2.query.structures import explored_structures, find_structures
from aiida_fuse2.query.targets import find_earlier, found_text, group_text
from aiida_fuse2.storage.disk import least_free

from .job_outputs import complete_extras, problem_of, remove_folders, results_of, structures_of
from .relax import INPUT_REFUSED, RelaxTiersWorkChain
from .search_builder import get_builder_from_protocol
from .search_inputs import define_inputs, fills_pool_by_job, ranking_settings

EMPTY_POOL = 420
"""Exit status of a pool job that another attempt would not help."""

MAX_GIVEN_UP = 3
"""Structures given up in a row, without any result in between, after which the worker itself is to blame."""

MAX_DIED = 10
"""Structures in a row that killed their processes after which the worker is to blame, though it has worked before."""

MAX_BARREN = 3
"""Generations in a row for which no trial could be made, after which a search ends."""


class Fuse2WorkChain(WorkChain):
    """Predicts the crystal structure of a composition by FUSE2 basin hopping."""

    _index: ExploredIndex | None = None
    """Explored structures so far; rebuilt from the records after a restart, never stored."""

    _worker_software: Mapping[str, dict[str, str] | None] = MappingProxyType({})
    """Versions by kind of job; each process of the daemon that runs the search asks once."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        define_inputs(spec)
        spec.outline(
            cls.relax_targets,
            cls.setup,
            while_(cls.should_go_on)(
                cls.take_added,
                while_(cls.should_fill_pool)(cls.fill_pool, cls.inspect_pool),
                cls.propose_generation,
                while_(cls.should_relax)(cls.relax_trials, cls.inspect_relaxation),
                cls.decide_generation,
            ),
            cls.finalise,
        )
        cls._define_outputs(spec)

    @classmethod
    def _define_outputs(cls, spec: WorkChainSpec) -> None:
        spec.output("structure", valid_type=orm.StructureData, required=False, help="The structure of lowest energy.")
        spec.output("energy", valid_type=orm.Float, required=False, help="Its energy (enthalpy), eV/atom.")
        spec.output("ranked", valid_type=orm.Dict, required=False, help="Unique explored structures, lowest first.")
        spec.output(
            "history", valid_type=orm.ArrayData, required=False, help="One row per trial, one array per column."
        )
        spec.output("state", valid_type=orm.Dict, required=False, help="The last state: counters, walkers, the best.")
        spec.exit_code(201, "ERROR_STATE_UNUSABLE", message="The search cannot go on from its state: {reason}")
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
        """Note what is run here, so that it can be told from what came with an archive."""
        super().on_create()
        remember(parts_of(self.node))

    # --- outline ------------------------------------------------------------------------------------

    def relax_targets(self) -> ToContext | None:
        """Submit the targets, so that their energies are known; they do not enter the search."""
        targets = self.inputs.get(TARGETS_LINK) or {}
        if not targets or not self._search_settings().target.relax:
            return None
        trials = target_trials(settings=self.inputs.settings, software=self._software(), **targets)
        return ToContext(target_job=self._submit_job(trials, TARGETS_LINK))

    def setup(self) -> None:
        """Start from the first state, or from that of an earlier search.

        The group is made here, so that it is there from the beginning.
        """
        settings = self._search_settings()
        self.ctx.pool = self.inputs.pool.uuid if "pool" in self.inputs else None
        self.ctx.n_pools = 1 if "pool" in self.inputs else 0
        self.ctx.pool_left = self.ctx.n_pools  # more than none; how many is known after the first draw
        self.ctx.pool_failures = 0
        self.ctx.pool_checkpoint = None
        self.ctx.taken = []
        self.ctx.structures = {}
        self.ctx.barren = 0
        self.ctx.died = 0
        self.ctx.failure = None
        self.ctx.is_cut_short = False
        group, _ = orm.Group.collection.get_or_create(self._group_label())
        self._take_targets()
        if "state" in self.inputs:
            self._go_on(settings, group)
            return
        self.ctx.state = begin(settings=self.inputs.settings, software=self._software()).uuid
        self.report(f"searching {settings.composition}: {settings.generator} starts, seed {settings.seed}")

    def _take_targets(self) -> None:
        """Note the targets as they were relaxed, or as they were given where that has failed."""
        job = self.ctx.get("target_job")
        rows, relaxed = ({}, {}) if job is None else (results_of(job), structures_of([job]))
        self.ctx.targets, self.ctx.target_rows = {}, {}
        for name, given in sorted((self.inputs.get(TARGETS_LINK) or {}).items()):
            label = TARGET_PREFIX + name
            node = relaxed.get(label)
            self.ctx.targets[name] = (given if node is None else node).uuid
            if node is not None:
                row = self.ctx.target_rows[name] = rows[label]
                if EXTRAS_KEY in node.base.extras.all:  # which mark what was explored
                    node.base.extras.delete(EXTRAS_KEY)
                self.report(f"target {name}: {row['energy']:.4f} eV/atom, {group_text(row)}")
            elif job is not None:
                reason = rows[label]["status"] if label in rows else problem_of(job)
                self.report(f"target {name} could not be relaxed ({reason}): structures are compared with it as given")

    def _go_on(self, settings: SearchSettings, group: orm.Group) -> None:
        """Go on from a state of an earlier search."""
        node = self.inputs.state
        given = SearchState.from_dict(node.get_dict())
        found = find_structures(self.node.pk, given.labels_needed)
        structures = {label: orm.load_node(uuid) for label, uuid in found.items()}
        n_atoms = numbers_of_atoms(structures)
        too_large = sorted(label for label, number in n_atoms.items() if number > settings.max_atoms)
        if too_large:
            self.report(f"more than {settings.max_atoms} atoms, so their walkers begin anew: {', '.join(too_large)}")
        targets = find_earlier(self.node.pk, self.ctx.targets, settings.target.stol)
        state = replace(fit_state(given, settings, n_atoms), targets=targets)
        if state != given:
            matches = {} if targets == given.targets else self._matches(targets)
            node = resume(
                settings=self.inputs.settings, state=node, software=self._software(), **{**structures, **matches}
            )
        self.ctx.state = node.uuid
        self.ctx.structures = {label: found[label] for label in state.labels_needed if label in found}
        missing = sorted(set(state.labels_needed) - set(self.ctx.structures))
        if missing:
            reason = f"structures are missing in the graph: {', '.join(missing)}"
            self.ctx.failure = ["ERROR_STATE_UNUSABLE", reason]
        self._go_on_with_pool(state)
        earlier = [found["pk"] for found in explored_structures(self.node.pk).values()]
        if earlier:
            group.add_nodes([orm.load_node(pk) for pk in earlier])
        self.report(
            f"searching {settings.composition}: goes on with generation {state.generation}, seed {settings.seed}"
        )
        rows = {label: node.base.extras.get(EXTRAS_KEY, {}) for label, node in self._found_nodes(targets).items()}
        self._report_targets(state, sorted(targets), rows)

    def _matches(self, targets: Mapping[str, FoundTarget]) -> dict[str, orm.Data]:
        """Return the inputs of ``resume`` that are about targets."""
        rows = {name: [found.label, found.structure_number, found.energy] for name, found in targets.items()}
        nodes = {TARGET_PREFIX + name: orm.load_node(self.ctx.targets[name]) for name in targets}
        return {"matches": orm.Dict(rows), **self._found_nodes(targets), **nodes}

    def _found_nodes(self, targets: Mapping[str, FoundTarget]) -> dict[str, orm.StructureData]:
        """Return the structures that equal targets, by label."""
        uuids = find_structures(self.node.pk, sorted({found.label for found in targets.values()}))
        return {label: orm.load_node(uuid) for label, uuid in uuids.items()}

    def _go_on_with_pool(self, state: SearchState) -> None:
        """Take the pool of an earlier search, with the given structures before those left in it."""
        earlier = pool_of_state(self.inputs.state.uuid, continued_search(self.node.pk))
        if earlier is None:
            self.ctx.pool, self.ctx.pool_left = None, 0
            self.ctx.n_pools = state.pool_number + 1 if state.generation else 0
        else:
            number = pool_number(earlier)
            # whether nothing was drawn from it yet; a first pool may have the number that stands for none
            is_fresh = state.generation == 0 or number != state.pool_number or not state.pool_positions
            self.ctx.pool, self.ctx.pool_left = earlier.uuid, 1 if is_fresh else state.pool_remaining
            self.ctx.n_pools = number + 1
        if "pool" in self.inputs:
            self._add_to_pool(self.inputs.pool)

    def should_go_on(self) -> bool:
        """Return whether another generation is wanted and possible."""
        self.ctx.limit = None
        if self.ctx.failure is not None or self.ctx.is_cut_short or self.ctx.barren >= MAX_BARREN:
            return False
        state = self._search_state()
        self.ctx.limit = self._limit_reached(state)
        if self.ctx.limit is not None:
            self.report(f"ends: {self.ctx.limit} is reached")
        elif self._search_settings().target.stop and state.targets:
            self.ctx.limit = f"target {', '.join(sorted(state.targets))}"
            self.report(f"ends: {self.ctx.limit} is found")
        return self.ctx.limit is None and self._has_room() and not self._is_asked_to_stop()

    def _has_room(self) -> bool:
        """Return whether there is space for another generation; the little that is left is for the results."""
        free, folder = least_free()
        least = self._search_settings().min_free_disk
        if free / 1e9 < least:
            reason = f"{free / 1e9:.2f} GB free in {folder}, less than settings.min_free_disk = {least:g}"
            self.report(f"ends: {reason}; make room")
            self.ctx.failure = ["ERROR_DISK_NEARLY_FULL", f"{reason}; make room, then continue"]
        return self.ctx.failure is None

    def take_added(self) -> None:
        """Put structures that the user added since the last generation into the pool."""
        for node in added_files(self.node.uuid):
            if node.uuid not in self.ctx.taken:
                self._add_to_pool(node)
                self.ctx.taken = [*self.ctx.taken, node.uuid]

    def _add_to_pool(self, added: orm.SinglefileData) -> None:
        arguments = {} if self.ctx.pool is None else {"pool": orm.load_node(self.ctx.pool)}
        outputs = add_to_pool(
            settings=self.inputs.settings,
            state=orm.load_node(self.ctx.state),
            added=added,
            pool_number=orm.Int(self.ctx.n_pools),
            software=self._software(),
            **arguments,
        )
        self.ctx.pool = outputs["pool"].uuid
        self.ctx.pool_left = outputs["summary"]["kept"]
        self.ctx.n_pools += 1
        self.report(f"structures were added; {self.ctx.pool_left} wait in the pool")

    def should_fill_pool(self) -> bool:
        """Return whether the pool is empty and a job can fill it."""
        if self.ctx.failure is not None or self.ctx.pool_left > 0 or self._is_cut_short():
            return False
        settings = self._search_settings()
        can_be_filled = fills_pool_by_job(settings.generator) and "generate" in self.inputs
        return can_be_filled and self.ctx.pool_failures < settings.job_attempts

    def fill_pool(self) -> ToContext:
        """Submit the job that fills the pool."""
        inputs = self.exposed_inputs(GenerateCalculation, namespace="generate")
        inputs["settings"] = self.inputs.settings
        inputs["pool_number"] = orm.Int(self.ctx.n_pools)
        if self._search_settings().pool.ranking != "none":
            inputs["tier"] = ranking_settings(self.inputs)
        if self.ctx.get("pool_checkpoint") is not None:
            inputs["checkpoint"] = orm.load_node(self.ctx.pool_checkpoint)
        inputs["metadata"]["call_link_label"] = f"pool_{self.ctx.n_pools:03d}"
        self._add_worker_software(inputs, code=self.inputs.generate.code)
        return ToContext(pool_job=self.submit(GenerateCalculation, **inputs))

    def inspect_pool(self) -> None:
        """Take over the pool; without one a search that has begun goes on with its random generator.

        Another job goes on from where one was killed.
        """
        job = self.ctx.pool_job
        self.ctx.pool_checkpoint = job.outputs.checkpoint.uuid if "checkpoint" in job.outputs else None
        if "pool" in job.outputs:
            summary = job.outputs.summary
            self.ctx.pool = job.outputs.pool.uuid
            self.ctx.pool_left = summary["kept"]
            self.ctx.pool_failures = 0
            self.ctx.n_pools += 1
            self.report(f"pool of {summary['kept']} structures from {summary['tried']} attempts")
            return
        if self._is_cut_short():
            return
        is_final = job.exit_status in {INPUT_REFUSED, EMPTY_POOL}
        self.ctx.pool_failures += self._search_settings().job_attempts if is_final else 1
        self.ctx.pool = None
        self.report(f"pool not filled: {problem_of(job)}")
        if self._search_state().generation == 0 and not self.should_fill_pool():
            self.ctx.failure = ["ERROR_GENERATION_JOB_FAILED", problem_of(job)]

    def propose_generation(self) -> None:
        """Propose the trials of a generation."""
        if self.ctx.failure is not None or self.ctx.is_cut_short:
            return
        arguments: dict[str, orm.Data] = {"settings": self.inputs.settings, "state": orm.load_node(self.ctx.state)}
        if self.ctx.pool is not None:
            arguments["pool"] = orm.load_node(self.ctx.pool)
        structures = {label: orm.load_node(uuid) for label, uuid in self.ctx.structures.items()}
        outputs = propose(**arguments, software=self._software(), **structures)
        self.ctx.trials, self.ctx.proposal = outputs["trials"].uuid, outputs["proposal"].uuid
        self.ctx.waiting = outputs["proposal"]["labels"]
        self.ctx.n_trials = len(self.ctx.waiting)
        self._leave_out_known(outputs["trials"])
        self.ctx.n_to_relax = len(self.ctx.waiting)
        self.ctx.jobs = []
        self.ctx.refused = []
        self.ctx.n_submitted = 0
        self.ctx.fruitless = 0
        self.ctx.barren = 0 if self.ctx.n_trials else self.ctx.barren + 1

    def _leave_out_known(self, trials: orm.SinglefileData) -> None:
        """Find the trials that equal a relaxed structure; they need not be relaxed.

        Each link of a calcfunction costs more than a comparison, so it gets only what is found here.
        """
        self.ctx.known = None
        if not self._search_settings().uniqueness.skip_known:
            return
        near = known_candidates(trials_from_text(trials.get_content()), self._loaded_index().relaxed)
        if not near:
            return
        uuids = find_structures(self.node.pk, sorted({known.label for found in near.values() for known in found}))
        structures = {label: orm.load_node(uuid) for label, uuid in uuids.items()}
        found = recognised(trials, near, structures, self._search_settings().uniqueness.stol)
        if not found:
            return
        known = recognise(
            settings=self.inputs.settings,
            trials=trials,
            candidates=orm.Dict(candidates_to_dict({label: [equal] for label, equal in found.items()})),
            software=self._software(),
            **{equal.label: structures[equal.label] for equal in found.values()},
        )
        self.ctx.known = known.uuid
        self.ctx.waiting = [label for label in self.ctx.waiting if label not in known["by_label"]]

    def should_relax(self) -> bool:
        """Return whether trials of the generation still have to be relaxed."""
        # nothing waits yet where the search was cut short while its first pool was filled
        return self.ctx.failure is None and not self._is_cut_short() and bool(self.ctx.waiting)

    def relax_trials(self) -> ToContext:
        """Submit the trials that have no result yet, in one job or a few."""
        settings = self._search_settings()
        # whom enough jobs have died on is tried alone before it is given up: it may have been another one's fault
        is_last = self.ctx.fruitless % settings.job_attempts == settings.job_attempts - 1
        self.ctx.asked = self.ctx.waiting[:1] if self.ctx.fruitless and is_last else self.ctx.waiting
        self.ctx.n_jobs = number_of_jobs(
            len(self.ctx.asked), self._search_state(), most=settings.relax_jobs, least_seconds=settings.job_seconds
        )
        shares = [self.ctx.asked[i :: self.ctx.n_jobs] for i in range(self.ctx.n_jobs)]
        jobs = {
            f"job_{i:02d}": self._submit_relaxation(share, self.ctx.n_submitted + i) for i, share in enumerate(shares)
        }
        self.ctx.n_submitted += self.ctx.n_jobs
        return ToContext(**jobs)

    def _submit_relaxation(self, labels: list[str], number: int) -> orm.ProcessNode:
        link = f"relax_{self._search_state().generation:05d}_{number:02d}"
        is_share = len(labels) < self.ctx.n_trials
        return self._submit_job(orm.load_node(self.ctx.trials), link, labels if is_share else None)

    def _submit_job(self, trials: orm.SinglefileData, link: str, labels: list[str] | None = None) -> orm.ProcessNode:
        """Submit structures to be relaxed in the tiers of the search, or in its only one."""
        has_tiers = bool(self.inputs.get("tiers"))
        kind = RelaxTiersWorkChain if has_tiers else RelaxCalculation
        inputs: dict[str, Any] = {"tiers": self.inputs.tiers, "metadata": {}} if has_tiers else self._relax_inputs()
        inputs["trials"] = trials
        if labels is not None:
            inputs["labels"] = orm.List(labels)
        inputs["metadata"]["call_link_label"] = link
        job: orm.ProcessNode = self.submit(kind, **inputs)
        return job

    def _relax_inputs(self) -> dict[str, Any]:
        """Return the inputs of the one tier of a search without others."""
        inputs: dict[str, Any] = self.exposed_inputs(RelaxCalculation, namespace="relax")
        self._add_worker_software(inputs, code=self.inputs.relax.code, tier=self.inputs.relax.settings.get_dict())
        return inputs

    def inspect_relaxation(self) -> None:
        """Note which trials have their result; the others go into another job, since theirs died on the way."""
        jobs = [self.ctx[f"job_{i:02d}"] for i in range(self.ctx.n_jobs)]
        shares = [self.ctx.asked[i :: self.ctx.n_jobs] for i in range(self.ctx.n_jobs)]
        useful = [job for job in jobs if results_of(job)]
        done = {label for job in useful for label in results_of(job)}
        self.ctx.jobs = [*self.ctx.jobs, *(job.uuid for job in useful)]
        self.ctx.waiting = [label for label in self.ctx.waiting if label not in done]
        refused = [job.uuid for job in jobs if "results" in job.outputs and job not in useful]
        self.ctx.refused = [*self.ctx.refused, *refused]
        self.ctx.fruitless = 0 if useful else self.ctx.fruitless + 1
        self._count_died([row["status"] for job in useful for row in results_of(job).values()])
        if not self.ctx.waiting or self.ctx.failure is not None:
            return
        died = [job for job, share in zip(jobs, shares, strict=True) if not done.issuperset(share)]
        if self._is_cut_short() or not died:
            return
        refused = [job for job in died if job.exit_status == INPUT_REFUSED]
        if refused:
            self.ctx.failure = ["ERROR_RELAXATION_JOB_FAILED", problem_of(refused[0])]
            return
        self.report(f"{len(self.ctx.waiting)} trials have no result ({problem_of(died[0])})")
        self._give_up(problem_of(died[0]))

    def _count_died(self, statuses: Sequence[str]) -> None:
        """Count the structures in a row that killed their processes, and end the search where it cannot be they."""
        if any(status != Failure.DIED for status in statuses):
            self.ctx.died = 0
            return
        self.ctx.died += len(statuses)
        if self.ctx.died >= (MAX_DIED if self._search_state().explored else MAX_GIVEN_UP):
            reason = f"each of the last {self.ctx.died} structures killed its process"
            self.ctx.failure = ["ERROR_RELAXATION_JOB_FAILED", reason]

    def _give_up(self, problem: str) -> None:
        """Give up the first trial in line once enough jobs have died on it, and the search if that does not help."""
        attempts = self._search_settings().job_attempts
        has_worked = bool(self.ctx.jobs) or self._search_state().explored > 0
        limit = max(attempts, 2) * MAX_GIVEN_UP if has_worked else max(attempts, 2) + 1
        if self.ctx.fruitless >= limit:
            self.ctx.failure = ["ERROR_RELAXATION_JOB_FAILED", problem]
        elif self.ctx.fruitless and self.ctx.fruitless % attempts == 0 and len(self.ctx.asked) == 1:
            self.report(f"{self.ctx.waiting[0]} is given up: {attempts} jobs have died on it")
            self.ctx.waiting = self.ctx.waiting[1:]
            self._count_died([Failure.DIED])

    def decide_generation(self) -> None:
        """Decide on the relaxed trials, and note what the next generation needs."""
        if self.ctx.failure is not None or self.ctx.is_cut_short:
            return
        # those without one good result come first: they name the failures of trials for which no job had any
        jobs = [orm.load_node(uuid) for uuid in [*self.ctx.refused, *self.ctx.jobs]]
        outputs = decide(
            settings=self.inputs.settings,
            state=orm.load_node(self.ctx.state),
            trials=orm.load_node(self.ctx.trials),
            proposal=orm.load_node(self.ctx.proposal),
            software=self._software(),
            **({} if self.ctx.known is None else {"known": orm.load_node(self.ctx.known)}),
            **{f"{RESULTS_PREFIX}{i:02d}": job.outputs.results for i, job in enumerate(jobs)},
            **{f"{RELAXED_PREFIX}{i:02d}": job.outputs.relaxed for i, job in enumerate(jobs)},
            **self._candidates([job.outputs.results for job in jobs]),
            **self._targets_left(),
        )
        self._take_over(outputs["state"], outputs["record"].get_dict(), structures_of(jobs))

    def _take_over(
        self, state_node: orm.Dict, record: dict[str, list[Any]], structures: dict[str, orm.StructureData]
    ) -> None:
        """Make a decided state the present one, and mark its structures for cheap questions."""
        rows = columns_to_rows(record)
        if self._index is not None:  # else it will be read from the records, these rows included
            self._index.add_rows(rows)
        if structures:
            group = orm.Group.collection.get(label=self._group_label())
            group.add_nodes(list(structures.values()))
        complete_extras(rows, structures)
        state = SearchState.from_dict(state_node.get_dict())
        uuids = {**self.ctx.structures, **{label: node.uuid for label, node in structures.items()}}
        missing = [label for label in state.labels_needed if label not in uuids]  # a walker went to a known structure
        uuids.update(find_structures(self.node.pk, missing))
        self.ctx.structures = {label: uuids[label] for label in state.labels_needed}
        self.ctx.state = state_node.uuid
        if self.ctx.pool is not None:
            self.ctx.pool_left = state.pool_remaining
        self._report_generation(state, rows)
        fresh = [name for name, found in state.targets.items() if found.label in record["label"]]
        self._report_targets(state, fresh, {row["label"]: row for row in rows})

    def finalise(self) -> ExitCode | None:
        """Attach the outputs; a search that ended badly keeps what it has found."""
        seal_orphans(self.node)
        state = self._search_state()
        records = {
            f"generation_{i:05d}": orm.load_node(r.record)
            for i, r in enumerate(generation_records(self.node.pk, self.ctx.state))
        }
        if records:
            state_node = orm.load_node(self.ctx.state)
            outputs = summarise(settings=self.inputs.settings, state=state_node, software=self._software(), **records)
            self.out_many(outputs)
            self.out("state", state_node)
        if state.best is not None:
            found = find_structures(self.node.pk, [state.best.label])
            self.out("structure", orm.load_node(found[state.best.label]))
        if self.inputs.clean_workdir.value:
            remove_folders(self.node)
        return self._exit_code(state)

    def _exit_code(self, state: SearchState) -> ExitCode | None:
        if self.ctx.failure is not None:
            name, reason = self.ctx.failure
            return self.exit_codes[name].format(reason=reason)
        if self.ctx.barren >= MAX_BARREN:
            return self.exit_codes.ERROR_NO_TRIALS.format(reason=state.rejections)
        if self.ctx.limit is None:
            return self.exit_codes.STOPPED_ON_REQUEST.format(reason=state.tried)
        if state.best is not None:
            return None
        if state.tried:
            return self.exit_codes.ERROR_NO_STRUCTURE.format(reason=state.failures)
        return self.exit_codes.BUDGET_SPENT.format(reason=self.ctx.limit)

    # --- what the steps share -----------------------------------------------------------------------

    def _search_settings(self) -> SearchSettings:
        return parse_settings(SearchSettings, self.inputs.settings.get_dict())

    def _search_state(self) -> SearchState:
        return SearchState.from_dict(orm.load_node(self.ctx.state).get_dict())

    def _group_label(self) -> str:
        return GROUP_PREFIX + str(self.node.uuid)

    def _limit_reached(self, state: SearchState) -> str | None:
        """Return which limit a search has reached, or None."""
        settings = self._search_settings()
        hours = (datetime.now(tz=UTC) - self.node.ctime).total_seconds() / 3600
        if state.tried >= settings.max_structures:
            return f"max_structures = {settings.max_structures}"
        if state.since_best >= settings.rmax:
            return f"rmax = {settings.rmax}"
        if settings.max_cpu_hours is not None and state.cpu_seconds / 3600 >= settings.max_cpu_hours:
            return f"max_cpu_hours = {settings.max_cpu_hours:g}"
        if settings.max_wall_hours is not None and hours >= settings.max_wall_hours:
            return f"max_wall_hours = {settings.max_wall_hours:g}"
        return None

    def _software(self) -> orm.Dict:
        """Return the versions of the packages of this process, one node for a search."""
        node = software_node(self.ctx.get("software"))
        self.ctx.software = node.uuid
        return node

    def _add_worker_software(
        self, inputs: dict[str, Any], *, code: orm.AbstractCode, tier: Mapping[str, Any] | None = None
    ) -> None:
        """Add the versions of the worker to the inputs of a job that may come out of the cache."""
        if not is_caching_used():
            return
        kind = "generate" if tier is None else "relax"
        if kind not in self._worker_software:
            found = worker_software(code, tier=tier, options=inputs["metadata"]["options"])
            self._worker_software = {**self._worker_software, kind: found}
        add_versions(inputs, self._worker_software[kind])

    def _is_asked_to_stop(self) -> bool:
        return stop_request(self.node.pk) is not None

    def _is_cut_short(self) -> bool:
        """Return whether the search is to leave its present generation out, and remember it."""
        self.ctx.is_cut_short = self.ctx.is_cut_short or stop_request(self.node.pk) == STOP_NOW
        return bool(self.ctx.is_cut_short)

    def _loaded_index(self) -> ExploredIndex:
        if self._index is None:
            self._index = ExploredIndex()
            for generation in generation_records(self.node.pk, self.ctx.state):
                self._index.add_rows(columns_to_rows(generation.columns))
        return self._index

    def _candidates(self, results: Any) -> dict[str, orm.Data]:
        """Return the earlier structures that the relaxed ones may equal, as inputs of ``decide``."""
        index, window = self._loaded_index().unique, self._search_settings().uniqueness.energy_window
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

    def _targets_left(self) -> dict[str, orm.StructureData]:
        """Return the targets that have not been found, as inputs of ``decide``."""
        found = self._search_state().targets
        return {TARGET_PREFIX + n: orm.load_node(uuid) for n, uuid in self.ctx.targets.items() if n not in found}

    def _report_targets(self, state: SearchState, names: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Tell of targets that were found.

        Args:
            state: after it.
            names: of the targets.
            rows: space groups of the structures that equal them, by label.
        """
        for name in names:
            found, known = state.targets[name], self.ctx.target_rows.get(name)
            best = None if state.best is None else state.best.energy
            self.report(found_text(name, found, group_text(rows.get(found.label, {})), known, best))

    def _report_generation(self, state: SearchState, rows: Sequence[Mapping[str, Any]]) -> None:
        known = sum(row["status"] == KNOWN for row in rows)
        failed = sum(row["status"] != CONVERGED for row in rows) - known
        best = "none yet" if state.best is None else f"{state.best.energy:.4f} eV/atom"
        total = self._search_settings().max_structures
        self.report(
            f"generation {state.generation - 1}: {len(rows) - known} relaxed, {failed} failed"
            f"{f', {known} known before' if known else ''}; best {best}; "
            f"{state.tried} of {total} structures"
        )
