"""The search: one WorkChain that loops generations of basin hopping (``fuse2.search``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, if_, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.manage import get_manager
from ase.data import atomic_numbers

from aiida_fuse2.calculations.conversions import RELAXED_PREFIX, RESULTS_PREFIX, columns_to_rows
from aiida_fuse2.calculations.functions import begin, decide, pool_from_structures, propose, summarise
from aiida_fuse2.calculations.generate import GenerateCalculation, validate_search_settings
from aiida_fuse2.calculations.relax import RelaxCalculation
from aiida_fuse2.core.decision import CONVERGED
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.generators import PROVIDED
from aiida_fuse2.core.relaxers.calculators import CHGNET, CHGNET_MAX_Z
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, check_search, parse_settings
from aiida_fuse2.core.state import SearchState
from aiida_fuse2.core.uniqueness import UniqueIndex, decode_fingerprint
from aiida_fuse2.parsers.relax import EXTRAS_KEY, structure_extras

from .protocols import protocol_inputs
from .records import STRUCTURE_LINK, find_structures, generation_records

GROUP_PREFIX = "fuse2/"
"""Start of the label of the group of a search's explored structures; its UUID follows."""

STOP_EXTRA = "fuse2_stop"
"""Extra of a search that asks it to stop after the present generation."""

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
        if settings.generator == PROVIDED and "pool" not in inputs:
            raise InputError("pool", None, "the generator 'provided' needs structures, e.g. --structures FILE")
        if fills_pool_by_job(settings.generator) and "code" not in inputs.get("generate", {}):
            raise InputError("generate.code", None, f"the generator {settings.generator!r} runs in a job: give a code")
        _check_elements(settings, inputs["relax"]["settings"].get_dict())
    except InputError as error:
        return str(error)
    return None


def _check_elements(settings: SearchSettings, relax: Mapping[str, Any]) -> None:
    """Refuse elements that the model does not know."""
    tier = parse_settings(RelaxSettings, relax, where="relax.settings")
    unknown = [s for s in settings.unit.elements if atomic_numbers[s] > CHGNET_MAX_Z]
    if tier.calculator == CHGNET and unknown:
        raise InputError("composition", settings.composition, f"CHGNet does not know {', '.join(unknown)}")


class Fuse2WorkChain(WorkChain):
    """Predicts the crystal structure of a composition by FUSE2 basin hopping."""

    _index: UniqueIndex | None = None
    """Unique structures so far; rebuilt from the records after a restart, never stored."""

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
            "clean_workdir",
            valid_type=orm.Bool,
            serializer=orm.to_aiida_type,
            help="Whether to remove the folders of finished jobs from their computer at the end.",
        )
        spec.expose_inputs(RelaxCalculation, namespace="relax", exclude=("trials", "shard"))
        spec.expose_inputs(
            GenerateCalculation,
            namespace="generate",
            exclude=("settings", "pool_number"),
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
                if_(cls.should_fill_pool)(cls.fill_pool, cls.inspect_pool),
                cls.propose_generation,
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
        spec.exit_code(301, "ERROR_RELAXATION_JOB_FAILED", message="No relaxation job gave a result: {reason}")
        spec.exit_code(302, "ERROR_GENERATION_JOB_FAILED", message="The pool could not be filled: {reason}")
        spec.exit_code(401, "ERROR_NO_STRUCTURE", message="No trial could be relaxed; failures: {reason}")
        spec.exit_code(402, "ERROR_NO_TRIALS", message="No trial could be made; rejected attempts: {reason}")
        spec.exit_code(700, "STOPPED_ON_REQUEST", message="Stopped on request after {reason} structures.")

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
        builder.settings = orm.Dict(_with_text_keys(values))
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
        """Start from the first state; the group is made here, so that it is there from the beginning."""
        settings = self._search_settings()
        self.ctx.state = begin(self.inputs.settings).uuid
        self.ctx.pool = self.inputs.pool.uuid if "pool" in self.inputs else None
        self.ctx.n_pools = 1 if "pool" in self.inputs else 0
        self.ctx.structures = {}
        self.ctx.barren = 0
        self.ctx.failure = None
        orm.Group.collection.get_or_create(self._group_label())
        self.report(f"searching {settings.composition}: {settings.generator} starts, seed {settings.seed}")

    def should_go_on(self) -> bool:
        """Tell whether another generation is wanted and possible."""
        if self.ctx.failure is not None or self.ctx.barren >= MAX_BARREN:
            return False
        return not self._has_reached_a_limit(self._search_state()) and not self._is_asked_to_stop()

    def should_fill_pool(self) -> bool:
        """Tell whether the pool is empty and a job can fill it."""
        if self.ctx.pool is not None and (
            self._search_state().generation == 0 or self._search_state().pool_remaining > 0
        ):
            return False
        return fills_pool_by_job(self._search_settings().generator) and "generate" in self.inputs

    def fill_pool(self) -> ToContext:
        """Submit the job that fills the pool."""
        inputs = self.exposed_inputs(GenerateCalculation, namespace="generate")
        inputs["settings"] = self.inputs.settings
        inputs["pool_number"] = orm.Int(self.ctx.n_pools)
        inputs["metadata"]["call_link_label"] = f"pool_{self.ctx.n_pools:03d}"
        return ToContext(pool_job=self.submit(GenerateCalculation, **inputs))

    def inspect_pool(self) -> None:
        """Take over the pool; without one a search that has begun goes on with its random generator."""
        job = self.ctx.pool_job
        if "pool" in job.outputs:
            self.ctx.pool = job.outputs.pool.uuid
            self.ctx.n_pools += 1
            summary = job.outputs.summary
            self.report(f"pool of {summary['kept']} structures from {summary['tried']} attempts")
        elif self._search_state().generation == 0:
            self.ctx.failure = ["ERROR_GENERATION_JOB_FAILED", _problem(job)]
        else:
            self.report(f"pool not filled: {_problem(job)}")
            self.ctx.pool = None

    def propose_generation(self) -> ToContext | None:
        """Propose the trials of a generation and submit their relaxation."""
        if self.ctx.failure is not None:
            return None
        arguments: dict[str, orm.Data] = {"settings": self.inputs.settings, "state": orm.load_node(self.ctx.state)}
        if self.ctx.pool is not None:
            arguments["pool"] = orm.load_node(self.ctx.pool)
        structures = {label: orm.load_node(uuid) for label, uuid in self.ctx.structures.items()}
        outputs = propose(**arguments, **structures)
        self.ctx.trials, self.ctx.proposal = outputs["trials"].uuid, outputs["proposal"].uuid
        n_trials = outputs["proposal"]["n_trials"]
        self.ctx.n_jobs = min(self._search_settings().relax_jobs, n_trials)
        self.ctx.barren = 0 if n_trials else self.ctx.barren + 1
        return ToContext(**{f"job_{i:02d}": self._submit_relaxation(i) for i in range(self.ctx.n_jobs)})

    def _submit_relaxation(self, index: int) -> orm.CalcJobNode:
        inputs = self.exposed_inputs(RelaxCalculation, namespace="relax")
        inputs["trials"] = orm.load_node(self.ctx.trials)
        if self.ctx.n_jobs > 1:
            inputs["shard"] = orm.Str(f"{index}/{self.ctx.n_jobs}")
        inputs["metadata"]["call_link_label"] = f"relax_{self._search_state().generation:05d}_{index:02d}"
        job: orm.CalcJobNode = self.submit(RelaxCalculation, **inputs)
        return job

    def decide_generation(self) -> None:
        """Decide on the relaxed trials, and note what the next generation needs."""
        if self.ctx.failure is not None:
            return
        jobs = [self.ctx[f"job_{i:02d}"] for i in range(self.ctx.n_jobs)]
        results = {f"{RESULTS_PREFIX}{i:02d}": j.outputs.results for i, j in enumerate(jobs) if "results" in j.outputs}
        if jobs and not results:
            self.ctx.failure = ["ERROR_RELAXATION_JOB_FAILED", _problem(jobs[0])]
            return
        relaxed = {f"{RELAXED_PREFIX}{i:02d}": j.outputs.relaxed for i, j in enumerate(jobs) if "relaxed" in j.outputs}
        outputs = decide(
            settings=self.inputs.settings,
            state=orm.load_node(self.ctx.state),
            trials=orm.load_node(self.ctx.trials),
            proposal=orm.load_node(self.ctx.proposal),
            **results,
            **relaxed,
            **self._candidates(results.values()),
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
        wanted = {w.current for w in state.walkers} | {f.label for f in state.followups}
        self.ctx.structures = {label: uuids[label] for label in sorted(w for w in wanted if w is not None)}
        self.ctx.state = state_node.uuid
        self._report_generation(state, rows)

    def finalise(self) -> ExitCode | None:
        """Attach the outputs; a search that ended badly keeps what it has found."""
        state = self._search_state()
        records = {
            f"generation_{i:05d}": orm.load_node(r.record) for i, r in enumerate(generation_records(self.node.pk))
        }
        if records:
            outputs = summarise(settings=self.inputs.settings, state=orm.load_node(self.ctx.state), **records)
            self.out_many(outputs)
            self.out("state", orm.load_node(self.ctx.state))
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
        if state.best is None:
            return self.exit_codes.ERROR_NO_STRUCTURE.format(reason=state.failures)
        if not self._has_reached_a_limit(state):
            return self.exit_codes.STOPPED_ON_REQUEST.format(reason=state.tried)
        return None

    # --- what the steps share -----------------------------------------------------------------------

    def _search_settings(self) -> SearchSettings:
        return parse_settings(SearchSettings, self.inputs.settings.get_dict())

    def _search_state(self) -> SearchState:
        return SearchState.from_dict(orm.load_node(self.ctx.state).get_dict())

    def _group_label(self) -> str:
        return GROUP_PREFIX + str(self.node.uuid)

    def _has_reached_a_limit(self, state: SearchState) -> bool:
        settings = self._search_settings()
        return state.tried >= settings.max_structures or state.since_best >= settings.rmax

    def _is_asked_to_stop(self) -> bool:
        builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": self.node.pk}, project="extras")
        return bool(builder.first(flat=True).get(STOP_EXTRA, False))

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


def _with_text_keys(values: Mapping[str, Any]) -> dict[str, Any]:
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
