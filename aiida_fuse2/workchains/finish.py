"""The answer of searches: the phases among their best structures (``fuse2.finish``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, Process, ProcessBuilder, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_fuse2.calculations.base import validator
from aiida_fuse2.calculations.finish import FinishCalculation, validate_answer_settings
from aiida_fuse2.calculations.finish_functions import (
    ANSWER,
    RELAXED_PREFIX,
    RESULTS_PREFIX,
    RUNGS_PREFIX,
    conclude_answer,
    rank_answer,
)
from aiida_fuse2.core.answer.second import FIRST, SECOND
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.search.refining import refined_label
from aiida_fuse2.core.search.targets import TARGET_PREFIX
from aiida_fuse2.environment.software import add_worker_software, engine_software
from aiida_fuse2.parsers.memory import WORKER
from aiida_fuse2.parsers.relax import EXTRAS_KEY
from aiida_fuse2.query.links import SECOND_LINK, TARGETS_LINK
from aiida_fuse2.query.orphans import seal_orphans
from aiida_fuse2.query.relaxation import program_of
from aiida_fuse2.query.stopping import STOP_NOW, stop_request
from aiida_fuse2.tiers import TierInputs, check_tiers, load_tier, read_tiers
from aiida_fuse2.tiers.registry import tier_key
from aiida_fuse2.tiers.worker import RelaxTier

from .attempts import AttemptsPart
from .job_outputs import problem_of, structures_of
from .relax import RelaxTiersWorkChain, define_second, validate_tiers

LIBRARY = "prototypes"


def can_relax(name: str) -> bool:
    """Return whether this package's worker computes with a tier, so that structures can be relaxed further in it.

    Args:
        name: name of the tier.

    Raises:
        InputError: if there is no such tier, or a package that it needs is not installed.
    """
    return issubclass(load_tier(name), RelaxTier)


@validator
def _validate_inputs(inputs: Mapping[str, Any]) -> str | None:
    """Check the inputs together."""
    if not {"selection", "structures", "tiers"} <= set(inputs):
        return None  # reported as a missing input
    structures = inputs["structures"]
    if set(structures) != set(inputs["selection"].get_dict()) or not structures:
        return "selection and structures must have the same labels, at least one"
    tiers = read_tiers(inputs["tiers"])
    if len(tiers) != 1:
        return "tiers must be the last one of the search alone"
    second = inputs.get(SECOND_LINK) or {}
    checked = tiers if can_relax(tiers[0].name) else []
    checked += read_tiers(second, where=SECOND_LINK) if second else []
    check_tiers(checked, {symbol for node in structures.values() for symbol in node.get_symbols_set()})
    return None


class Fuse2FinishWorkChain(AttemptsPart):
    """Relaxes the best structures of searches tightly, symmetrises them, and merges them into phases.

    Where the energies come from another program than the worker (VASP, Quantum ESPRESSO, GULP), structures are
    symmetrised only, and keep the energies of that program.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        spec.input("settings", valid_type=orm.Dict, validator=validate_answer_settings, help="Settings of the answer.")
        spec.input("searches", valid_type=orm.List, help="UUIDs of the searches that the ranking is of.")
        spec.input_namespace(
            "tiers",
            dynamic=True,
            valid_type=orm.Data,
            validator=validate_tiers,
            help="The tier that gives the energies of the search, `t00`.",
        )
        define_second(spec)
        spec.input_namespace(
            TARGETS_LINK,
            dynamic=True,
            required=False,
            valid_type=orm.StructureData,
            help="Known structures by name, which the second potential relaxes, too.",
        )
        spec.input(LIBRARY, valid_type=orm.SinglefileData, required=False, help="Library that names structure types.")
        spec.inputs.validator = _validate_inputs
        spec.outline(
            cls.setup,
            while_(cls.should_try)(cls.try_structures, cls.inspect_attempt),
            cls.begin_second,
            while_(cls.should_try)(cls.try_structures, cls.inspect_attempt),
            cls.finalise,
        )
        spec.output(
            ANSWER,
            valid_type=orm.Dict,
            help="`phases`: a row for each, lowest energy first, with space group, structure type, Wyckoff positions, "
            "members, rungs, and the answer in words; `failed`: structures without an answer; `order`, with a second "
            "potential: which one orders, and how well their orders agree.",
        )
        spec.output("structure", valid_type=orm.StructureData, required=False, help="The phase of lowest energy.")
        spec.output_namespace(
            "structures", valid_type=orm.StructureData, dynamic=True, help="Conventional cell of each phase, by label."
        )
        spec.exit_code(401, "ERROR_NO_STRUCTURE", message="No structure could be relaxed tightly: {reason}")

    @classmethod
    def get_builder_from_protocol(
        cls,
        rows: Sequence[Mapping[str, Any]],
        tier: Mapping[str, Any],
        settings: Mapping[str, Any],
        searches: Sequence[str],
        library: orm.SinglefileData | None = None,
        *,
        second: Mapping[str, Any] | None = None,
        targets: Mapping[str, orm.StructureData] | None = None,
    ) -> ProcessBuilder:
        """Return a builder for structures of a ranking.

        Args:
            rows: rows of ``query.ranked`` or ``query.combined``, in their order.
            tier: inputs of the tier that gives their energies: ``name``, ``settings``, ``codes``, ...; of its codes,
                only the worker runs.
            settings: of ``protocols/finish.yaml``, with changes.
            searches: UUIDs of the searches that the ranking is of.
            library: library that names structure types, if there is one.
            second: inputs of the tier that orders the phases, like ``tier``; by default that one orders them.
            targets: known structures that the second relaxes, too, by name.

        Raises:
            InputError: if there is no structure.
        """
        if not rows:
            raise InputError("searches", 0, "none has found a structure")
        chosen = {refined_label(position): row for position, row in enumerate(rows)}
        builder: ProcessBuilder = cls.get_builder()
        builder.settings = orm.Dict(dict(settings))
        builder.selection = orm.Dict({label: {**row} for label, row in chosen.items()})
        builder.searches = orm.List(sorted(searches))
        builder.structures = {label: orm.load_node(row["uuid"]) for label, row in chosen.items()}
        builder.tiers = {tier_key(0): dict(tier)}
        if library is not None:
            builder[LIBRARY] = library
        if second:
            builder[SECOND_LINK] = {tier_key(0): dict(second)}
            if targets:
                builder[TARGETS_LINK] = dict(targets)
        return builder

    def setup(self) -> None:
        """Begin with the explored structures."""
        super().setup()
        self.ctx.first = None

    def attempt(self, inputs: dict[str, Any]) -> tuple[type[Process], dict[str, Any]]:
        """Return the job that climbs the ladders, or that relaxes the phases with the second potential."""
        if self.ctx.first is not None:
            return RelaxTiersWorkChain, {**inputs, "tiers": self.inputs[SECOND_LINK]}
        given = self._tier()
        inputs = {**inputs, "code": given.codes[WORKER], "settings": self.inputs.settings, "relax": given.settings_node}
        inputs["metadata"]["options"] = dict(given.options)
        if given.potential is not None:
            inputs["potential"] = given.potential
        add_worker_software(inputs, code=given.codes[WORKER], tier=given.settings_node.get_dict())
        return FinishCalculation, inputs

    def should_try(self) -> bool:
        """Return whether a structure has no result yet, and the search that called this goes on."""
        caller = self.node.caller
        is_asked_to_stop = caller is not None and stop_request(caller.pk) == STOP_NOW
        return can_relax(self._tier().name) and super().should_try() and not is_asked_to_stop

    def begin_second(self) -> None:
        """Make the phases; if there is a second potential, begin to relax them, and the targets, with it."""
        if self.ctx.failure is not None:
            self.ctx.waiting = []
            return
        jobs, tier = self.finished(), self._tier()
        others = self._library()
        if not can_relax(tier.name):
            others["program"] = orm.Str(program_of(tier.name, tier.settings_node.get_dict()))
        outputs = conclude_answer(
            settings=self.inputs.settings,
            selection=self.inputs.selection,
            relax=tier.settings_node,
            trials=orm.load_node(self.ctx.trials),
            software=orm.Dict(engine_software()),
            **others,
            **{f"{RESULTS_PREFIX}{i:02d}": job.outputs.results for i, job in enumerate(jobs)},
            **{f"{RUNGS_PREFIX}{i:02d}": job.outputs.rungs for i, job in enumerate(jobs)},
        )
        self.ctx.first = {label: node.uuid for label, node in outputs.items()}
        self.ctx.waiting = []
        phases = {row["label"]: row["source"] for row in outputs[ANSWER]["phases"]}
        if not phases or not self.inputs.get(SECOND_LINK):
            return
        targets = {TARGET_PREFIX + name: node for name, node in (self.inputs.get(TARGETS_LINK) or {}).items()}
        origins = {**phases, **dict.fromkeys(targets, "")}
        selection = {label: {"label": origin, "primitive": True} for label, origin in origins.items()}
        structures = {**{label: outputs[label] for label in phases}, **targets}
        self.begin(orm.Dict(selection), structures, SECOND_LINK)

    def finalise(self) -> ExitCode | None:
        """Attach the phases, ordered by the second potential if there is one."""
        seal_orphans(self.node)
        if self.ctx.first is None:
            return self.exit_codes.ERROR_INPUT_REFUSED.format(reason=self.ctx.failure)
        outputs = {label: orm.load_node(uuid) for label, uuid in self.ctx.first.items()}
        if outputs[ANSWER]["phases"] and self.inputs.get(SECOND_LINK):
            outputs |= self._ranked(outputs)
        answer = outputs.pop(ANSWER)
        self.out(ANSWER, answer)
        for label in (row["label"] for row in answer["phases"]):
            self.out(f"structures.{label}", outputs[label])
        if not answer["phases"]:
            return self.exit_codes.ERROR_NO_STRUCTURE.format(reason=answer["failed"][0]["status"])
        best = answer["phases"][0]
        self.out("structure", outputs[best["label"]])
        self.report(f"{len(answer['phases'])} phases; the lowest: {best['statement']}")
        return None

    def _ranked(self, first: Mapping[str, orm.Data]) -> Mapping[str, orm.Data]:
        """Return the answer with both potentials, and the cells of the phases if they are those of the second."""
        processes = self.finished()
        for node in (node for process in processes for node in structures_of([process]).values()):
            if EXTRAS_KEY in node.base.extras.all:  # these mark explored structures
                node.base.extras.delete(EXTRAS_KEY)
        second = read_tiers(self.inputs[SECOND_LINK], where=SECOND_LINK)[0]
        names = {
            key: program_of(given.name, given.settings_node.get_dict())
            for key, given in ((FIRST, self._tier()), (SECOND, second))
        }
        process = self.ctx.process
        reason = self.ctx.failure or ("" if process.is_finished_ok else problem_of(process))
        ranked: Mapping[str, orm.Data] = rank_answer(
            settings=self.inputs.settings,
            answer=first[ANSWER],
            potentials=orm.Dict({**names, "reason": reason}),
            software=orm.Dict(engine_software()),
            **self._library(),
            **{label: node for label, node in first.items() if label != ANSWER},
            **{f"{RESULTS_PREFIX}{i:02d}": node.outputs.results for i, node in enumerate(processes)},
            **{f"{RELAXED_PREFIX}{i:02d}": node.outputs.relaxed for i, node in enumerate(processes)},
        )
        self.report(ranked[ANSWER]["order"]["statement"])
        return ranked

    def _library(self) -> dict[str, orm.Data]:
        return {LIBRARY: self.inputs[LIBRARY]} if LIBRARY in self.inputs else {}

    def _tier(self) -> TierInputs:
        return read_tiers(self.inputs.tiers)[0]
