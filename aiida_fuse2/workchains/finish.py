"""The answer of searches: the phases among their best structures (``fuse2.finish``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, Process, ProcessBuilder, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_fuse2.calculations.base import validator
from aiida_fuse2.calculations.finish import FinishCalculation, validate_answer_settings
from aiida_fuse2.calculations.finish_functions import ANSWER, RESULTS_PREFIX, RUNGS_PREFIX, conclude_answer
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.search.refining import refined_label
from aiida_fuse2.environment.software import add_worker_software, engine_software
from aiida_fuse2.parsers.memory import WORKER
from aiida_fuse2.query.orphans import seal_orphans
from aiida_fuse2.query.relaxation import program_of
from aiida_fuse2.query.stopping import STOP_NOW, stop_request
from aiida_fuse2.tiers import TierInputs, check_tiers, load_tier, read_tiers
from aiida_fuse2.tiers.registry import tier_key
from aiida_fuse2.tiers.worker import RelaxTier

from .attempts import AttemptsPart
from .relax import INPUT_REFUSED, validate_tiers

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
    if can_relax(tiers[0].name):
        check_tiers(tiers, {symbol for node in structures.values() for symbol in node.get_symbols_set()})
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
        spec.input(
            "selection",
            valid_type=orm.Dict,
            help="Row of each structure in the ranking that it comes from, by label: its rank, energy, ...",
        )
        spec.input("searches", valid_type=orm.List, help="UUIDs of the searches that the ranking is of.")
        spec.input_namespace(
            "structures", dynamic=True, valid_type=orm.StructureData, help="Explored structures by the same labels."
        )
        spec.input_namespace(
            "tiers",
            dynamic=True,
            valid_type=orm.Data,
            validator=validate_tiers,
            help="The tier that gives the energies of the search, `t00`.",
        )
        spec.input(LIBRARY, valid_type=orm.SinglefileData, required=False, help="Library that names structure types.")
        spec.inputs.validator = _validate_inputs
        spec.outline(cls.setup, while_(cls.should_try)(cls.try_structures, cls.inspect_attempt), cls.finalise)
        spec.output(
            ANSWER,
            valid_type=orm.Dict,
            help="`phases`: a row for each, lowest energy first, with space group, structure type, Wyckoff positions, "
            "members, rungs, and the answer in words; `failed`: structures without an answer.",
        )
        spec.output("structure", valid_type=orm.StructureData, required=False, help="The phase of lowest energy.")
        spec.output_namespace(
            "structures", valid_type=orm.StructureData, dynamic=True, help="Conventional cell of each phase, by label."
        )
        spec.exit_code(INPUT_REFUSED, "ERROR_INPUT_REFUSED", message="{reason}")
        spec.exit_code(401, "ERROR_NO_STRUCTURE", message="No structure could be relaxed tightly: {reason}")

    @classmethod
    def get_builder_from_protocol(
        cls,
        rows: Sequence[Mapping[str, Any]],
        tier: Mapping[str, Any],
        settings: Mapping[str, Any],
        searches: Sequence[str],
        library: orm.SinglefileData | None = None,
    ) -> ProcessBuilder:
        """Return a builder for structures of a ranking.

        Args:
            rows: rows of ``query.ranked`` or ``query.combined``, in their order.
            tier: inputs of the tier that gives their energies: ``name``, ``settings``, ``codes``, ...; of its codes,
                only the worker runs.
            settings: of ``protocols/finish.yaml``, with changes.
            searches: UUIDs of the searches that the ranking is of.
            library: library that names structure types, if there is one.

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
        return builder

    def attempt(self, inputs: dict[str, Any]) -> tuple[type[Process], dict[str, Any]]:
        """Return the job that climbs the ladders."""
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

    def finalise(self) -> ExitCode | None:
        """Conclude, and attach the phases."""
        seal_orphans(self.node)
        if self.ctx.failure is not None:
            return self.exit_codes.ERROR_INPUT_REFUSED.format(reason=self.ctx.failure)
        jobs, tier = self.finished(), self._tier()
        others: dict[str, orm.Data] = {LIBRARY: self.inputs[LIBRARY]} if LIBRARY in self.inputs else {}
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
        answer = outputs.pop(ANSWER)
        self.out(ANSWER, answer)
        for label, node in outputs.items():
            self.out(f"structures.{label}", node)
        if not answer["phases"]:
            return self.exit_codes.ERROR_NO_STRUCTURE.format(reason=answer["failed"][0]["status"])
        best = answer["phases"][0]
        self.out("structure", outputs[best["label"]])
        self.report(f"{len(answer['phases'])} phases; the lowest: {best['statement']}")
        return None

    def _tier(self) -> TierInputs:
        return read_tiers(self.inputs.tiers)[0]
