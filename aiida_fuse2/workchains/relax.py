"""Relaxation of a batch of structures in tiers (``fuse2.relax_tiers``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, ToContext, WorkChain, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.manage import get_manager

from aiida_fuse2.calculations.base import validator
from aiida_fuse2.calculations.tier_functions import (
    RELAXED_PREFIX,
    RESULTS_PREFIX,
    join_tiers,
    next_trials,
    split_trials,
)
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.relaxers.failures import CONVERGED, Failure
from aiida_fuse2.core.search.trials import Trial
from aiida_fuse2.environment.software import add_worker_software
from aiida_fuse2.io.trials import select_trials, trials_from_text
from aiida_fuse2.parsers.memory import WORKER
from aiida_fuse2.parsers.relax import EXTRAS_KEY, structure_extras
from aiida_fuse2.query.links import SECOND_LINK
from aiida_fuse2.query.orphans import ENDED, ORPHAN, seal_orphans
from aiida_fuse2.query.stopping import STOP_NOW, stop_request
from aiida_fuse2.tiers import BatchTier, SingleTier, TierInputs, check_tiers, load_tier, read_tiers
from aiida_fuse2.tiers.gathering import RESULTS_PREFIX as GATHERED_RESULTS
from aiida_fuse2.tiers.gathering import STRUCTURE_PREFIX, collected, gather, load_single_tier
from aiida_fuse2.tiers.registry import tier_key

from .job_outputs import link_structures, problem_of

INPUT_REFUSED = 311
"""Exit status of a job, and of this WorkChain, after which another attempt is useless."""

TIERS_HELP = (
    "Tiers in their order, `t00`, `t01`, ...: each with `name` (Str), `settings` (Dict), `codes` by name, and if it "
    "needs them `options` of its jobs (Dict), `potential` (SinglefileData), `concurrent` (Int): most processes at a "
    "time if each structure has its own process."
)


@validator
def validate_tiers(ports: Mapping[str, Any]) -> None:
    """Check the tiers themselves."""
    if ports:
        read_tiers(ports)


SECOND_HELP = (
    "The potential that orders the phases of the answer, as a tier `t00`: the phases are relaxed again in it. Without "
    "it the potential of the search orders them."
)


def define_second(spec: WorkChainSpec) -> None:
    """Define the input of the potential that orders an answer."""
    spec.input_namespace(
        SECOND_LINK,
        dynamic=True,
        required=False,
        valid_type=orm.Data,
        validator=_validate_second,
        help=SECOND_HELP,
    )


@validator
def _validate_second(ports: Mapping[str, Any]) -> str | None:
    """Check the second potential itself."""
    return "must be a single tier" if ports and len(read_tiers(ports, where=SECOND_LINK)) != 1 else None


@validator
def _validate_inputs(inputs: Mapping[str, Any]) -> None:
    """Check the tiers together with the structures."""
    if "trials" not in inputs or "tiers" not in inputs:
        return  # reported as a missing input
    labels = inputs["labels"].get_list() if "labels" in inputs else None
    trials = select_trials(trials_from_text(inputs["trials"].get_content()), labels)
    if not trials:
        raise InputError("labels", labels, "must name at least one of the trials")
    check_tiers(read_tiers(inputs["tiers"]), {symbol for trial in trials for symbol in trial.atoms.symbols})


class RelaxTiersWorkChain(WorkChain):
    """Relaxes a batch of structures in an ordered list of tiers.

    It has the inputs and outputs of ``fuse2.relax``, and its exit codes that decide about another attempt. A structure
    that fails in a tier ends with the reason and the name of the tier; the others continue.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        spec.input("trials", valid_type=orm.SinglefileData, help="Trials as extended XYZ, from `fuse2.propose`.")
        spec.input("labels", valid_type=orm.List, required=False, help="Labels of the trials to relax; all by default.")
        spec.input_namespace("tiers", dynamic=True, valid_type=orm.Data, validator=validate_tiers, help=TIERS_HELP)
        spec.inputs.validator = _validate_inputs
        spec.outline(
            cls.setup,
            while_(cls.should_continue)(
                cls.begin_tier,
                while_(cls.should_submit)(cls.submit_tier),
                cls.end_tier,
            ),
            cls.finalise,
        )
        spec.output("results", valid_type=orm.Dict, help="Status, energy and costs of each trial, by label.")
        spec.output("relaxed", valid_type=orm.SinglefileData, help="Last geometries as extended XYZ, with labels.")
        spec.output_namespace(
            "structures", valid_type=orm.StructureData, dynamic=True, help="Explored structures by label of the trial."
        )
        spec.exit_code(310, "ERROR_TIER_WITHOUT_RESULTS", message="A tier gave no results: {reason}")
        spec.exit_code(INPUT_REFUSED, "ERROR_INPUT_REFUSED", message="A tier refused its input: {reason}")
        spec.exit_code(
            320,
            "ERROR_RESULTS_INCOMPLETE",
            message="{missing} of {total} structures have no result, since their job died: {reason}",
        )

    # --- outline ------------------------------------------------------------------------------------

    def setup(self) -> None:
        """Begin with the given trials."""
        self.ctx.position = 0
        self.ctx.trials = self.inputs.trials.uuid
        self.ctx.results = []
        self.ctx.relaxed = []
        self.ctx.problem = "asked to stop"
        self.ctx.is_refused = False
        self.ctx.n_left = len(self._trials)

    def should_continue(self) -> bool:
        """Return whether there is another tier, and a structure left for it."""
        is_left = not self.ctx.is_refused and self.ctx.position < len(self.inputs.tiers) and self.ctx.n_left > 0
        return is_left and not self._is_asked_to_stop()

    def begin_tier(self) -> None:
        """Make the trials that the processes of a tier start from."""
        self.ctx.is_submitted = False
        self.ctx.waiting = []
        if issubclass(self._tier(), SingleTier):
            labels = self._labels_of_tier()
            given = {} if labels is None else {"labels": labels}
            structures = split_trials(trials=orm.load_node(self.ctx.trials), **given)
            self.ctx.structures = {label: node.uuid for label, node in structures.items()}
            self.ctx.waiting = list(structures)

    def should_submit(self) -> bool:
        """Return whether processes of the tier are to be submitted or waited for."""
        if issubclass(self._tier(), BatchTier):
            return not self.ctx.is_submitted
        called = self._called_singles()
        is_active = any(state not in ENDED for _, state in called.values())
        return is_active or (len(called) < len(self.ctx.waiting) and not self._is_asked_to_stop())

    def submit_tier(self) -> ToContext | None:
        """Submit the job of a batch, or as many single processes as can run, and wait for the earliest."""
        tier, given = self._tier(), self._given()
        if issubclass(tier, BatchTier):
            is_last = self.ctx.position + 1 == len(self.inputs.tiers)
            process, inputs = tier.inputs(
                given, orm.load_node(self.ctx.trials), labels=self._labels_of_tier(), is_last=is_last
            )
            inputs["metadata"]["call_link_label"] = tier_key(self.ctx.position)
            if WORKER in given.codes:
                add_worker_software(inputs, code=given.codes[WORKER], tier=given.settings_node.get_dict())
            self.ctx.is_submitted = True
            return ToContext(process=self.submit(process, **inputs))
        active = self._submit_singles(load_single_tier(given.name), given)
        return ToContext(process=orm.load_node(active[0])) if active else None

    def _submit_singles(self, tier: type[SingleTier], given: TierInputs) -> list[int]:
        """Submit processes up to the limit, and return those that have not ended, the earliest first.

        The submitted processes are read from the graph: a step that runs twice, after a kill, submits nothing twice.
        """
        seal_orphans(self.node)
        called = self._called_singles()
        active = sorted(pk for pk, state in called.values() if state not in ENDED)
        missing = [label for label in self.ctx.waiting if label not in called]
        free = len(missing) if given.concurrent is None else max(given.concurrent - len(active), 0)
        for label in [] if self._is_asked_to_stop() else missing[:free]:
            process, inputs = tier.inputs(given, orm.load_node(self.ctx.structures[label]))
            metadata = inputs.setdefault("metadata", {})
            metadata["call_link_label"] = f"{tier_key(self.ctx.position)}_{label}"
            active.append(int(self.submit(process, **inputs).pk))
        return active

    def end_tier(self) -> None:
        """Take the results of a tier, and make the trials of the next one."""
        found = self._take_batch() if issubclass(self._tier(), BatchTier) else self._gather_singles()
        if found is None:
            self.ctx.n_left = 0
            self.ctx.results, self.ctx.relaxed = [*self.ctx.results, None], [*self.ctx.relaxed, None]
            return
        results, relaxed = found
        self.ctx.results = [*self.ctx.results, results.uuid]
        self.ctx.relaxed = [*self.ctx.relaxed, relaxed.uuid]
        rows = results["by_label"].values()
        self.ctx.n_left = sum(row["status"] == CONVERGED for row in rows)
        self.report(f"tier {self._given().name}: {self.ctx.n_left} of {len(rows)} structures converged")
        self.ctx.position += 1
        if self.should_continue():
            trials = next_trials(trials=orm.load_node(self.ctx.trials), results=results, relaxed=relaxed)
            self.ctx.trials = trials.uuid

    def _take_batch(self) -> tuple[orm.Dict, orm.SinglefileData] | None:
        """Return the finished results of a job, or None if there are none."""
        job = self.ctx.process
        if not job.is_finished_ok:
            self.ctx.problem = f"{self._given().name}: {problem_of(job)}"
            self.ctx.is_refused = job.exit_status == INPUT_REFUSED
            self.report(self.ctx.problem)
        return (job.outputs.results, job.outputs.relaxed) if "results" in job.outputs else None

    def _gather_singles(self) -> tuple[orm.Dict, orm.SinglefileData]:
        """Return the results of all processes of a tier as those of a batch."""
        tier = load_single_tier(self._given().name)
        ended: dict[str, list[Any]] = {}
        nodes: dict[str, orm.Data] = {}
        for label, (pk, _) in sorted(self._called_singles().items()):
            found = collected(tier, orm.load_node(pk))
            ended[label] = found.ended
            if found.results is not None:
                nodes[GATHERED_RESULTS + label] = found.results
            if found.structure is not None:
                nodes[STRUCTURE_PREFIX + label] = found.structure
        outputs = gather(
            tier=self.inputs.tiers[tier_key(self.ctx.position)]["name"],
            settings=self._given().settings_node,
            trials=orm.load_node(self.ctx.trials),
            ended=orm.Dict(ended),
            **nodes,
        )
        return outputs["results"], outputs["relaxed"]

    def finalise(self) -> ExitCode | None:
        """Attach the results of all tiers; the finished results of a job that died are kept."""
        seal_orphans(self.node)
        tiers = read_tiers(self.inputs.tiers)
        nodes: dict[str, orm.Data] = {}
        for position, (results, relaxed) in enumerate(zip(self.ctx.results, self.ctx.relaxed, strict=True)):
            if results is not None:
                nodes[f"{RESULTS_PREFIX}{position:02d}"] = orm.load_node(results)
                nodes[f"{RELAXED_PREFIX}{position:02d}"] = orm.load_node(relaxed)
        if self.ctx.is_refused:
            return self.exit_codes.ERROR_INPUT_REFUSED.format(reason=self.ctx.problem)
        joined = self._joined([given.name for given in tiers], nodes)
        rows: dict[str, Any] = {} if joined is None else joined["results"]["by_label"]
        if joined is None or not rows:
            return self.exit_codes.ERROR_TIER_WITHOUT_RESULTS.format(reason=self.ctx.problem)
        self.out("results", joined["results"])
        self.out("relaxed", joined["relaxed"])
        refused = {label: row for label, row in rows.items() if row["status"] == Failure.BAD_RESULT}
        if len(refused) == len(rows):
            label, row = next(iter(refused.items()))
            return self.exit_codes.ERROR_TIER_WITHOUT_RESULTS.format(reason=f"{label}: {row['detail']}")
        structures = self._mark_structures(rows)
        for label, node in structures.items():
            self.out(f"structures.{label}", node)
        link_structures(self.node, structures)
        total = len(self._trials)
        if len(rows) < total:
            return self.exit_codes.ERROR_RESULTS_INCOMPLETE.format(
                missing=total - len(rows), total=total, reason=self.ctx.problem
            )
        return None

    def _joined(self, names: Sequence[str], nodes: Mapping[str, orm.Data]) -> Mapping[str, orm.Data] | None:
        """Return ``results`` and ``relaxed`` of all tiers together; the outputs of a single tier need no new node."""
        if not nodes:
            return None
        if len(names) == 1:
            return {"results": nodes[f"{RESULTS_PREFIX}00"], "relaxed": nodes[f"{RELAXED_PREFIX}00"]}
        joined: Mapping[str, orm.Data] = join_tiers(names=orm.List(list(names)), **nodes)
        return joined

    def _mark_structures(self, rows: Mapping[str, Any]) -> dict[str, orm.StructureData]:
        """Return the structures that the last tier has relaxed by label, with the most queried values as an extra."""
        infos = {trial.info.label: trial.info for trial in self._trials}
        structures = self._last_structures({label for label, row in rows.items() if row["status"] == CONVERGED})
        with get_manager().get_profile_storage().transaction():  # one commit for all
            for label, node in structures.items():
                if len(self.inputs.tiers) == 1 and EXTRAS_KEY in node.base.extras.all:
                    continue  # the parser of its job has set it
                node.label = label
                node.base.extras.set(EXTRAS_KEY, structure_extras({**infos[label].to_dict(), **rows[label]}))
        return structures

    def _last_structures(self, labels: set[str]) -> dict[str, orm.StructureData]:
        """Return the relaxed structures of the last tier; there are none if it was not reached."""
        if not labels:
            return {}
        tier = load_tier(read_tiers(self.inputs.tiers)[-1].name)
        if issubclass(tier, BatchTier):
            outputs = self.ctx.process.outputs.structures
            return {label: outputs[label] for label in sorted(labels)}
        single = load_single_tier(tier.name)
        called = self._called_singles(len(self.inputs.tiers) - 1)
        found = {label: collected(single, orm.load_node(called[label][0])).structure for label in sorted(labels)}
        return {label: node for label, node in found.items() if node is not None}

    # --- helpers of the steps -----------------------------------------------------------------------

    def _given(self) -> TierInputs:
        """Return the inputs of the current tier."""
        return read_tiers(self.inputs.tiers)[self.ctx.position]

    def _tier(self) -> type[BatchTier | SingleTier]:
        name = self.inputs.tiers[tier_key(self.ctx.position)]["name"].value
        tier = load_tier(name)
        if not issubclass(tier, BatchTier | SingleTier):
            raise InputError("tiers", name, "is neither a BatchTier nor a SingleTier")
        return tier

    def _is_asked_to_stop(self) -> bool:
        return bool(stop_request(self.node.pk) == STOP_NOW)

    def _labels_of_tier(self) -> orm.List | None:
        """Return the input ``labels`` for the first tier; later tiers get only these structures."""
        return self.inputs.labels if self.ctx.position == 0 and "labels" in self.inputs else None

    @cached_property
    def _trials(self) -> list[Trial]:
        """The trials to relax."""
        labels = self.inputs.labels.get_list() if "labels" in self.inputs else None
        return select_trials(trials_from_text(self.inputs.trials.get_content()), labels)

    def _called_singles(self, position: int | None = None) -> dict[str, tuple[int, str | None]]:
        """Return primary key and state of the processes of a tier by label of the structure."""
        start = tier_key(self.ctx.position if position is None else position) + "_"
        builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": self.node.pk}, tag="tiers")
        builder.append(
            orm.ProcessNode,
            with_incoming="tiers",
            edge_filters={"label": {"like": f"{start}%"}},
            edge_project="label",
            project=["id", "attributes.process_state", "attributes.exception"],
            tag="process",
        )
        builder.order_by({"process": {"id": "asc"}})
        return {
            label.removeprefix(start): (pk, state)
            for pk, state, exception, label in builder.all()
            if state is not None and exception != ORPHAN
        }
