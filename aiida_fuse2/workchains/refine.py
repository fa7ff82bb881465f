"""Relaxation of the best structures of searches in further tiers (``fuse2.refine``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, Process, ProcessBuilder, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_fuse2.calculations.base import validator
from aiida_fuse2.calculations.generate import check_library
from aiida_fuse2.calculations.refine_functions import (
    RELAXED_PREFIX,
    RESULTS_PREFIX,
    compare_refined,
)
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.prototypes.library import anonymous_counts
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.search.refining import RefineSettings, refined_label, tried_rows
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.environment.software import engine_software
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.query.orphans import seal_orphans
from aiida_fuse2.tiers import TierChoice, build_tiers, check_tiers, read_tiers

from .attempts import AttemptsPart
from .job_outputs import complete_extras
from .relax import TIERS_HELP, RelaxTiersWorkChain, validate_tiers


@validator
def _validate_settings(node: orm.Dict) -> None:
    """Check the settings."""
    parse_settings(RefineSettings, node.get_dict())


@validator
def _validate_inputs(inputs: Mapping[str, Any]) -> str | None:
    """Check the inputs together."""
    if not {"selection", "structures", "tiers"} <= set(inputs):
        return None  # reported as a missing input
    structures = inputs["structures"]
    if set(structures) != set(inputs["selection"].get_dict()) or not structures:
        return "selection and structures must have the same labels, at least one"
    elements = {symbol for node in structures.values() for symbol in node.get_symbols_set()}
    check_tiers(read_tiers(inputs["tiers"]), elements)
    if "prototypes" in inputs:
        check_library(inputs["prototypes"], anonymous_counts(next(iter(structures.values())).get_ase()))
    return None


class Fuse2RefineWorkChain(AttemptsPart):
    """Relaxes the best structures of searches in further tiers, and ranks them again."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        spec.input(
            "settings",
            valid_type=orm.Dict,
            validator=_validate_settings,
            help="Settings of the refinement (see `RefineSettings`).",
        )
        spec.input(
            "prototypes",
            valid_type=orm.SinglefileData,
            required=False,
            help="Library of prototypes, as extended XYZ: names of the refined structures.",
        )
        spec.input_namespace("tiers", dynamic=True, valid_type=orm.Data, validator=validate_tiers, help=TIERS_HELP)
        spec.inputs.validator = _validate_inputs
        spec.outline(cls.setup, while_(cls.should_try)(cls.try_structures, cls.inspect_attempt), cls.finalise)
        spec.output(
            "ranked",
            valid_type=orm.Dict,
            help="Structures by their energy after the tiers, with names, rank and energy before; failed ones last.",
        )
        spec.output("structure", valid_type=orm.StructureData, required=False, help="The structure of lowest energy.")
        spec.output_namespace(
            "structures", valid_type=orm.StructureData, dynamic=True, help="Refined structures by label."
        )
        spec.exit_code(401, "ERROR_NO_STRUCTURE", message="No structure could be relaxed in all tiers.")

    @classmethod
    def get_builder_from_protocol(
        cls,
        rows: Sequence[Mapping[str, Any]],
        tiers: TierChoice,
        code: orm.AbstractCode,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        *,
        prototypes: orm.SinglefileData | None = None,
    ) -> ProcessBuilder:
        """Return a builder for structures of a ranking.

        Args:
            rows: rows of ``query.ranked`` or ``query.combined``, in their order.
            tiers: tiers that relax the structures.
            code: code of the worker.
            protocol: protocol of searches; its relaxation gives the defaults of tiers of the worker.
            overrides: nested inputs that win: ``settings``, ``relax`` (defaults of these tiers) and ``tiers``.
            prototypes: library of structure types by which refined structures are named; without it they have no types.

        Raises:
            InputError: for the first wrong input.
        """
        changes = dict(overrides or {})
        of_tiers, relax = changes.pop("tiers", None) or {}, changes.pop("relax", None) or {}
        inputs = protocol_inputs(None, changes, name="refine")
        parse_settings(RefineSettings, inputs["settings"])
        if not rows:
            raise InputError("searches", 0, "none has found a structure")
        chosen = {refined_label(position): row for position, row in enumerate(rows)}
        structures = {label: orm.load_node(row["uuid"]) for label, row in chosen.items()}
        elements = {symbol for node in structures.values() for symbol in node.get_symbols_set()}
        builder: ProcessBuilder = cls.get_builder()
        builder.settings = orm.Dict(inputs["settings"])
        builder.selection = orm.Dict({label: {**row} for label, row in chosen.items()})
        builder.structures = structures
        if prototypes is not None:
            builder.prototypes = prototypes
        builder.tiers = build_tiers(
            tiers,
            worker=code,
            protocol=protocol,
            relax=protocol_inputs(protocol, {"relax": relax})["relax"],
            overrides=of_tiers,
            elements=elements,
        )
        return builder

    # --- outline ------------------------------------------------------------------------------------

    def attempt(self, inputs: dict[str, Any]) -> tuple[type[Process], dict[str, Any]]:
        """Return the relaxation of structures in the tiers."""
        return RelaxTiersWorkChain, {**inputs, "tiers": self.inputs.tiers}

    def finalise(self) -> ExitCode | None:
        """Rank the relaxed structures, and attach them."""
        seal_orphans(self.node)
        if self.ctx.failure is not None:
            return self.exit_codes.ERROR_INPUT_REFUSED.format(reason=self.ctx.failure)
        processes = self.finished()
        ranked = compare_refined(
            settings=self.inputs.settings,
            selection=self.inputs.selection,
            tier=self.inputs.tiers[max(self.inputs.tiers)]["settings"],
            software=orm.Dict(engine_software()),
            **({"prototypes": self.inputs.prototypes} if "prototypes" in self.inputs else {}),
            **{f"{RESULTS_PREFIX}{i:02d}": node.outputs.results for i, node in enumerate(processes)},
            **{f"{RELAXED_PREFIX}{i:02d}": node.outputs.relaxed for i, node in enumerate(processes)},
        )
        self.out("ranked", ranked)
        structures = {
            label: node
            for process in processes
            if "structures" in process.outputs
            for label, node in process.outputs.structures.items()
        }
        for label, node in structures.items():
            self.out(f"structures.{label}", node)
        complete_extras(tried_rows(ranked["structures"]), structures)
        best = ranked["structures"][0]
        if best["status"] != CONVERGED:
            return self.exit_codes.ERROR_NO_STRUCTURE
        self.out("structure", structures[best["label"]])
        self.report(f"lowest {best['energy']:.4f} eV/atom, number {best['rank_before']} before")
        return None
