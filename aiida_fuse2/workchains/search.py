"""The search: one WorkChain that loops generations of basin hopping (``fuse2.search``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.manage import get_manager

from aiida_fuse2.calculations.conversions import RELAXED_PREFIX, RESULTS_PREFIX, columns_to_rows, pool_number
from aiida_fuse2.calculations.functions import (
    add_to_pool,
    begin,
    decide,
    pool_from_structures,
    propose,
    resume,
    summarise,
)
from aiida_fuse2.calculations.generate import GenerateCalculation, validate_search_settings
from aiida_fuse2.calculations.relax import RelaxCalculation
from aiida_fuse2.core.decision import CONVERGED
from aiida_fuse2.core.errors import InputError, shown_value
from aiida_fuse2.core.generators import PROVIDED
from aiida_fuse2.core.settings import (
    CHGNET,
    CHGNET_ELEMENTS,
    RelaxSettings,
    SearchSettings,
    check_search,
    parse_settings,
)
from aiida_fuse2.core.state import SearchState, fit_state
from aiida_fuse2.core.uniqueness import UniqueIndex, decode_fingerprint
from aiida_fuse2.parsers.relax import EXTRAS_KEY, structure_extras

from .orphans import seal_orphans
from .protocols import completed_settings, protocol_inputs
from .records import (
    CONTINUED_LINK,
    GROUP_PREFIX,
    STRUCTURE_LINK,
    added_files,
    continued_search,
    explored_structures,
    find_structures,
    generation_records,
    pool_of_state,
    state_settings,
)
from .software import engine_software, is_caching_used, worker_software

STOP_EXTRA = "fuse2_stop"
"""Extra of a search that asks it to stop after the present generation, or at once if it is ``STOP_NOW``."""

STOP_NOW = "now"
"""Value of the extra for a search that is to leave its present generation out."""

INPUT_REFUSED = 311
"""Exit status of a job that another attempt would not help."""

EMPTY_POOL = 420
"""Exit status of a pool job that another attempt would not help."""

MAX_GIVEN_UP = 3
"""Structures given up in a row, without any result in between, after which the worker itself is to blame."""

COMPARABLE = ("calculator", "model", "arguments", "pressure")
"""Settings of a relaxation that energies depend on."""

MAX_BARREN = 3
"""Generations in a row for which no trial could be made, after which a search ends."""

IN_PROCESS = frozenset({"fgen"})
"""Generators cheap enough to run inside a calcfunction; others fill a pool in a job."""


def fills_pool_by_job(generator: str) -> bool:
    """Tell whether a generator fills the pool with a job."""
    return generator not in IN_PROCESS and generator != PROVIDED


def _validate_inputs(inputs: Mapping[str, Any], _: object) -> str | None:
    """Return what is wrong with the inputs together, or None."""
    if "settings" not in inputs:
        return None  # reported as a missing input
    try:
        settings = parse_settings(SearchSettings, inputs["settings"].get_dict())
        if settings.generator == PROVIDED and "pool" not in inputs and "state" not in inputs:
            raise InputError("pool", None, "the generator 'provided' needs structures, e.g. --structures FILE")
        if fills_pool_by_job(settings.generator) and "code" not in inputs.get("generate", {}):
            raise InputError("generate.code", None, f"the generator {settings.generator!r} runs in a job: give a code")
        _check_elements(settings, inputs["relax"]["settings"].get_dict())
        if "state" in inputs:
            _check_state(settings, inputs["state"], inputs["relax"]["settings"].get_dict())
    except InputError as error:
        return str(error)
    return None


def _validate_continued(node: orm.Str | None, _: object) -> str | None:
    """Return what is wrong with the search that is continued, or None."""
    if node is None:
        return None
    filters = {"uuid": node.value, "attributes.process_label": "Fuse2WorkChain"}
    is_search = orm.QueryBuilder().append(orm.WorkChainNode, filters=filters).count() > 0
    return None if is_search else f"must be the UUID of a search of this profile, not {shown_value(node.value)}"


def _check_elements(settings: SearchSettings, relax: Mapping[str, Any]) -> None:
    """Refuse elements that the model does not know."""
    tier = parse_settings(RelaxSettings, relax, where="relax.settings")
    unknown = [s for s in settings.unit.elements if s not in CHGNET_ELEMENTS]
    if tier.calculator == CHGNET and unknown:
        raise InputError("composition", settings.composition, f"CHGNet does not know {', '.join(unknown)}")


def _check_state(settings: SearchSettings, state: orm.Dict, relax: Mapping[str, Any]) -> None:
    """Refuse to go on from what is no state of a search, or one with other energies."""
    earlier = state_settings(state.uuid) if state.is_stored else None
    if earlier is None:
        raise InputError("state", state.pk, "must be a state that a search has made; see its output 'state'")
    formula = parse_settings(SearchSettings, completed_settings(earlier[0].get_dict())).unit.formula
    if formula != settings.unit.formula:
        raise InputError("composition", settings.unit.formula, f"the state belongs to a search for {formula}")
    tier = earlier[1].get_dict()
    changed = [name for name in COMPARABLE if tier.get(name) != relax.get(name)]
    if changed:
        expected = (
            f"energies of the state were computed with {tier.get(changed[0])!r} and cannot be compared; "
            "start a new search from its structures instead"
        )
        raise InputError(f"relax.settings.{changed[0]}", relax.get(changed[0]), expected)


class Fuse2WorkChain(WorkChain):
    """Predicts the crystal structure of a composition by FUSE2 basin hopping."""

    _index: UniqueIndex | None = None
    """Unique structures so far; rebuilt from the records after a restart, never stored."""

    _worker_software: Mapping[str, dict[str, str] | None] = MappingProxyType({})
    """Versions by UUID of the code; each process of the daemon that runs the search asks once."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        spec.input(
            "settings",
            valid_type=orm.Dict,
            validator=validate_search_settings,
            help="Settings of the search: composition, seed, limits, moves, ... (see `SearchSettings`).",
        )
        spec.input(
            "pool",
            valid_type=orm.SinglefileData,
            required=False,
            help="Structures to start from, as extended XYZ, best first.",
        )
        spec.input(
            "state",
            valid_type=orm.Dict,
            required=False,
            help="A state of an earlier search, from which this one goes on. With the same settings it is then equal "
            "to the earlier one, had that gone on. Structures of `pool` come before those left in the earlier pool.",
        )
        spec.input(
            CONTINUED_LINK,
            valid_type=orm.Str,
            serializer=orm.to_aiida_type,
            required=False,
            validator=_validate_continued,
            help="UUID of the search that is continued: this one takes its pool. By default that which made `state`; "
            "they differ where a search ended before it had made a state of its own.",
        )
        spec.input(
            "clean_workdir",
            valid_type=orm.Bool,
            serializer=orm.to_aiida_type,
            help="Whether to remove the folders of finished jobs from their computer at the end.",
        )
        spec.expose_inputs(RelaxCalculation, namespace="relax", exclude=("trials", "labels", "software"))
        spec.expose_inputs(
            GenerateCalculation,
            namespace="generate",
            exclude=("settings", "pool_number", "software"),
            namespace_options={
                "required": False,
                "populate_defaults": False,
                "help": "The job that fills the pool; needed by generators that run in a job.",
            },
        )
        spec.inputs.validator = _validate_inputs
        spec.outline(
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
        spec.exit_code(401, "ERROR_NO_STRUCTURE", message="No trial could be relaxed; failures: {reason}")
        spec.exit_code(402, "ERROR_NO_TRIALS", message="No trial could be made; rejected attempts: {reason}")
        spec.exit_code(700, "STOPPED_ON_REQUEST", message="Stopped on request after {reason} structures.")
        spec.exit_code(701, "BUDGET_SPENT", message="{reason} was reached before any structure had been relaxed.")

    @classmethod
    def get_builder_from_protocol(
        cls,
        composition: str,
        code: orm.AbstractCode,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        *,
        structures: Sequence[orm.StructureData] | None = None,
        pool: orm.SinglefileData | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        Args:
            composition: formula, e.g. ``SrTiO3``.
            code: the installed command ``aiida-fuse2-worker``.
            protocol: ``fast``, ``balanced`` (default) or ``stringent``.
            overrides: nested inputs that win over the protocol, e.g. ``{'settings': {'max_atoms': 10}}``.
            structures: explicit starting structures in the graph; those that do not fit are left out.
            pool: starting structures as a pool node (from files).
            options: options of both jobs, e.g. ``{'queue_name': 'short'}``.

        Raises:
            InputError: where a setting is wrong, or no given structure fits.
        """
        inputs = protocol_inputs(protocol, overrides)
        if options:
            for name in ("relax", "generate"):
                inputs[name]["metadata"]["options"].update(options)
        values = {"composition": composition, **inputs["settings"]}
        settings = parse_settings(SearchSettings, values)
        check_search(settings)
        parse_settings(RelaxSettings, inputs["relax"]["settings"], where="relax.settings")
        builder: ProcessBuilder = cls.get_builder()
        values["composition"] = settings.unit.formula
        builder.settings = orm.Dict(with_text_keys(values))
        builder.clean_workdir = orm.Bool(inputs["clean_workdir"])
        builder.relax.code = code
        builder.relax.settings = orm.Dict(inputs["relax"]["settings"])
        builder.relax.metadata.options = inputs["relax"]["metadata"]["options"]
        if fills_pool_by_job(settings.generator):
            builder.generate.code = code
            builder.generate.metadata.options = inputs["generate"]["metadata"]["options"]
        if structures:
            pool = _pool_of(builder.settings, structures)
        if pool is not None:
            builder.pool = pool
        return builder

    # --- outline ------------------------------------------------------------------------------------

    def setup(self) -> None:
        """Start from the first state, or from that of an earlier search.

        The group is made here, so that it is there from the beginning.
        """
        settings = self._search_settings()
        self.ctx.pool = self.inputs.pool.uuid if "pool" in self.inputs else None
        self.ctx.n_pools = 1 if "pool" in self.inputs else 0
        self.ctx.pool_left = self.ctx.n_pools  # more than none; how many is known after the first draw
        self.ctx.pool_failures = 0
        self.ctx.taken = []
        self.ctx.structures = {}
        self.ctx.barren = 0
        self.ctx.failure = None
        self.ctx.is_cut_short = False
        group, _ = orm.Group.collection.get_or_create(self._group_label())
        if "state" in self.inputs:
            self._go_on(settings, group)
            return
        self.ctx.state = begin(settings=self.inputs.settings, software=self._software()).uuid
        self.report(f"searching {settings.composition}: {settings.generator} starts, seed {settings.seed}")

    def _go_on(self, settings: SearchSettings, group: orm.Group) -> None:
        """Go on from a state of an earlier search."""
        node = self.inputs.state
        given = SearchState.from_dict(node.get_dict())
        state = fit_state(given, settings)
        if state != given:
            node = resume(settings=self.inputs.settings, state=node, software=self._software())
        self.ctx.state = node.uuid
        self.ctx.structures = find_structures(self.node.pk, state.labels_needed)
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
        """Tell whether another generation is wanted and possible."""
        self.ctx.limit = None
        if self.ctx.failure is not None or self.ctx.is_cut_short or self.ctx.barren >= MAX_BARREN:
            return False
        self.ctx.limit = self._limit_reached(self._search_state())
        if self.ctx.limit is not None:
            self.report(f"ends: {self.ctx.limit} is reached")
        return self.ctx.limit is None and not self._is_asked_to_stop()

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
        """Tell whether the pool is empty and a job can fill it."""
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
        inputs["metadata"]["call_link_label"] = f"pool_{self.ctx.n_pools:03d}"
        self._add_worker_software(inputs, code=self.inputs.generate.code)
        return ToContext(pool_job=self.submit(GenerateCalculation, **inputs))

    def inspect_pool(self) -> None:
        """Take over the pool; without one a search that has begun goes on with its random generator."""
        job = self.ctx.pool_job
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
        self.report(f"pool not filled: {_problem(job)}")
        if self._search_state().generation == 0 and not self.should_fill_pool():
            self.ctx.failure = ["ERROR_GENERATION_JOB_FAILED", _problem(job)]

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
        self.ctx.jobs = []
        self.ctx.n_submitted = 0
        self.ctx.fruitless = 0
        self.ctx.barren = 0 if self.ctx.waiting else self.ctx.barren + 1

    def should_relax(self) -> bool:
        """Tell whether trials of the generation still have to be relaxed."""
        # nothing waits yet where the search was cut short while its first pool was filled
        return self.ctx.failure is None and not self._is_cut_short() and bool(self.ctx.waiting)

    def relax_trials(self) -> ToContext:
        """Submit the trials that have no result yet, in one job or a few."""
        self.ctx.n_jobs = min(self._search_settings().relax_jobs, len(self.ctx.waiting))
        shares = [self.ctx.waiting[i :: self.ctx.n_jobs] for i in range(self.ctx.n_jobs)]
        jobs = {
            f"job_{i:02d}": self._submit_relaxation(share, self.ctx.n_submitted + i) for i, share in enumerate(shares)
        }
        self.ctx.n_submitted += self.ctx.n_jobs
        return ToContext(**jobs)

    def _submit_relaxation(self, labels: list[str], number: int) -> orm.CalcJobNode:
        inputs = self.exposed_inputs(RelaxCalculation, namespace="relax")
        inputs["trials"] = orm.load_node(self.ctx.trials)
        if len(labels) < self.ctx.n_trials:
            inputs["labels"] = orm.List(labels)
        inputs["metadata"]["call_link_label"] = f"relax_{self._search_state().generation:05d}_{number:02d}"
        self._add_worker_software(inputs, code=self.inputs.relax.code)
        job: orm.CalcJobNode = self.submit(RelaxCalculation, **inputs)
        return job

    def inspect_relaxation(self) -> None:
        """Note which trials have their result; the others go into another job, since theirs died on the way."""
        jobs = [self.ctx[f"job_{i:02d}"] for i in range(self.ctx.n_jobs)]
        shares = [self.ctx.waiting[i :: self.ctx.n_jobs] for i in range(self.ctx.n_jobs)]
        useful = [job for job in jobs if _results_of(job)]
        done = {label for job in useful for label in _results_of(job)}
        self.ctx.jobs = [*self.ctx.jobs, *(job.uuid for job in useful)]
        self.ctx.waiting = [label for label in self.ctx.waiting if label not in done]
        self.ctx.fruitless = 0 if useful else self.ctx.fruitless + 1
        if not self.ctx.waiting:
            return
        died = [job for job, share in zip(jobs, shares, strict=True) if not done.issuperset(share)]
        if self._is_cut_short():
            return
        refused = [job for job in died if job.exit_status == INPUT_REFUSED]
        if refused:
            self.ctx.failure = ["ERROR_RELAXATION_JOB_FAILED", _problem(refused[0])]
            return
        self.report(f"{len(self.ctx.waiting)} trials have no result ({_problem(died[0])})")
        self._give_up(_problem(died[0]))

    def _give_up(self, problem: str) -> None:
        """Give up the first trial in line once enough jobs have died on it, and the search if that does not help."""
        attempts = self._search_settings().job_attempts
        limit = attempts * MAX_GIVEN_UP if self.ctx.jobs else attempts + 1
        if self.ctx.fruitless >= limit:
            self.ctx.failure = ["ERROR_RELAXATION_JOB_FAILED", problem]
        elif self.ctx.fruitless and self.ctx.fruitless % attempts == 0:
            self.report(f"{self.ctx.waiting[0]} is given up: {attempts} jobs have died on it")
            self.ctx.waiting = self.ctx.waiting[1:]

    def decide_generation(self) -> None:
        """Decide on the relaxed trials, and note what the next generation needs."""
        if self.ctx.failure is not None or self.ctx.is_cut_short:
            return
        jobs = [orm.load_node(uuid) for uuid in self.ctx.jobs]
        if self.ctx.n_trials and not jobs:
            self.ctx.failure = ["ERROR_RELAXATION_JOB_FAILED", _problem(self.ctx.job_00)]
            return
        outputs = decide(
            settings=self.inputs.settings,
            state=orm.load_node(self.ctx.state),
            trials=orm.load_node(self.ctx.trials),
            proposal=orm.load_node(self.ctx.proposal),
            software=self._software(),
            **{f"{RESULTS_PREFIX}{i:02d}": job.outputs.results for i, job in enumerate(jobs)},
            **{f"{RELAXED_PREFIX}{i:02d}": job.outputs.relaxed for i, job in enumerate(jobs)},
            **self._candidates([job.outputs.results for job in jobs]),
        )
        self._take_over(outputs["state"], outputs["record"].get_dict(), _structures_of(jobs))

    def _take_over(
        self, state_node: orm.Dict, record: dict[str, list[Any]], structures: dict[str, orm.StructureData]
    ) -> None:
        """Make a decided state the present one, and mark its structures for cheap questions."""
        rows = columns_to_rows(record)
        self._add_to_index(rows)
        if structures:
            group = orm.Group.collection.get(label=self._group_label())
            group.add_nodes(list(structures.values()))
        _complete_extras(rows, structures)
        state = SearchState.from_dict(state_node.get_dict())
        uuids = {**self.ctx.structures, **{label: node.uuid for label, node in structures.items()}}
        self.ctx.structures = {label: uuids[label] for label in state.labels_needed}
        self.ctx.state = state_node.uuid
        if self.ctx.pool is not None:
            self.ctx.pool_left = state.pool_remaining
        self._report_generation(state, rows)

    def finalise(self) -> ExitCode | None:
        """Attach the outputs; a search that ended badly keeps what it has found."""
        seal_orphans(self.node)
        state = self._search_state()
        records = {
            f"generation_{i:05d}": orm.load_node(r.record) for i, r in enumerate(generation_records(self.node.pk))
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
            self._clean_workdir()
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
        versions = engine_software()
        known = self.ctx.get("software")
        node = None if known is None else orm.load_node(known)
        if node is None or node.get_dict() != versions:  # the latter where the daemon came back with others
            node = orm.Dict(versions).store()
            self.ctx.software = node.uuid
        return node

    def _add_worker_software(self, inputs: dict[str, Any], *, code: orm.AbstractCode) -> None:
        """Add the versions of the worker to the inputs of a job that may come out of the cache."""
        if not is_caching_used():
            return
        if code.uuid not in self._worker_software:
            self._worker_software = {**self._worker_software, code.uuid: worker_software(code)}
        versions = self._worker_software[code.uuid]
        if versions is None:  # what is not known cannot be told apart
            inputs["metadata"]["disable_cache"] = True
        else:
            inputs["software"] = orm.Dict(versions)

    def _extras(self) -> dict[str, Any]:
        """Return the extras as they are in the database now: users change them while the search runs."""
        builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": self.node.pk}, project="extras")
        extras: dict[str, Any] = builder.first(flat=True)
        return extras

    def _is_asked_to_stop(self) -> bool:
        return bool(self._extras().get(STOP_EXTRA, False))

    def _is_cut_short(self) -> bool:
        """Tell whether the search is to leave its present generation out, and remember it."""
        self.ctx.is_cut_short = self.ctx.is_cut_short or self._extras().get(STOP_EXTRA) == STOP_NOW
        return bool(self.ctx.is_cut_short)

    def _loaded_index(self) -> UniqueIndex:
        if self._index is None:
            self._index = UniqueIndex()
            for generation in generation_records(self.node.pk):
                self._add_to_index(columns_to_rows(generation.columns))
        return self._index

    def _add_to_index(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if self._index is None:
            return  # it will be read from the records, these rows included
        for row in rows:
            if row["status"] == CONVERGED and not row["duplicate_of"]:
                self._index.add(row["label"], row["energy"], decode_fingerprint(row["fingerprint"]))

    def _candidates(self, results: Any) -> dict[str, orm.Data]:
        """Return the earlier structures that the relaxed ones may equal, as inputs of ``decide``."""
        index, window = self._loaded_index(), self._search_settings().uniqueness.energy_window
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

    def _report_generation(self, state: SearchState, rows: Sequence[Mapping[str, Any]]) -> None:
        failed = sum(row["status"] != CONVERGED for row in rows)
        best = "none yet" if state.best is None else f"{state.best.energy:.4f} eV/atom"
        total = self._search_settings().max_structures
        self.report(
            f"generation {state.generation - 1}: {len(rows)} relaxed, {failed} failed; best {best}; "
            f"{state.tried} of {total} structures"
        )

    def _clean_workdir(self) -> None:
        for node in self.node.called_descendants:
            if isinstance(node, orm.CalcJobNode):
                try:
                    node.outputs.remote_folder._clean()  # noqa: SLF001 - AiiDA has no public method for it
                except (OSError, KeyError, AttributeError):
                    continue  # already gone, or never made


def with_text_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values whose move numbers are texts, as a Dict node stores them anyway."""
    return {
        key: {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else value
        for key, value in values.items()
    }


def _pool_of(settings: orm.Dict, structures: Sequence[orm.StructureData]) -> orm.SinglefileData:
    outputs = pool_from_structures(settings, **{f"s{i:05d}": node for i, node in enumerate(structures)})
    if not outputs["summary"]["kept"]:
        raise InputError("structures", len(structures), f"none fits: {outputs['summary']['rejected']}")
    pool: orm.SinglefileData = outputs["pool"]
    return pool


def _problem(job: orm.CalcJobNode) -> str:
    """Return why a job gave no output."""
    return str(job.exit_message or f"job {job.pk} is {job.process_state.value}; see `verdi process report {job.pk}`")


def _results_of(job: orm.CalcJobNode) -> dict[str, Any]:
    """Return the results of a job by label, as far as it got."""
    return job.outputs.results["by_label"] if "results" in job.outputs else {}


def _structures_of(jobs: Sequence[orm.CalcJobNode]) -> dict[str, orm.StructureData]:
    found = {}
    for job in jobs:
        links = job.base.links.get_outgoing(node_class=orm.StructureData, link_type=LinkType.CREATE)
        found.update({link.link_label.removeprefix(STRUCTURE_LINK): link.node for link in links.all()})
    return found


def _complete_extras(rows: Sequence[Mapping[str, Any]], structures: Mapping[str, orm.StructureData]) -> None:
    """Mark duplicates, and give extras to structures that came out of the cache without them."""
    with get_manager().get_profile_storage().transaction():  # one commit for all
        for row in rows:
            node = structures.get(row["label"])
            if node is not None and (row["duplicate_of"] or EXTRAS_KEY not in node.base.extras.all):
                node.base.extras.set(EXTRAS_KEY, structure_extras(row))
