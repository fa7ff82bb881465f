"""Parser of the jobs with GULP."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode
from ase import Atoms

from aiida_fuse2.core.crystal.validity import has_sound_cell
from aiida_fuse2.core.relaxers.energies import GULP
from aiida_fuse2.core.relaxers.failures import CONVERGED, Failure
from aiida_fuse2.core.relaxers.gulp import GulpSettings, Outcome
from aiida_fuse2.core.relaxers.results import RelaxationRules
from aiida_fuse2.core.search.trials import Trial, single_trial
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.io.names import RELAXED_FILE
from aiida_fuse2.io.trials import to_extxyz

from .relax import RelaxParser

EXIT_CODES = {
    Outcome.INPUT_ERROR: "ERROR_GULP_REFUSED",
    Outcome.TRUNCATED: "ERROR_OUTPUT_TRUNCATED",
    Outcome.OVERFLOW: "ERROR_OVERFLOW",
    Outcome.NOT_FINITE: "ERROR_NOT_FINITE",
    Outcome.STEP_LIMIT: "ERROR_STEP_LIMIT",
    Outcome.TIME_LIMIT: "ERROR_TIME_LIMIT",
    Outcome.NO_MINIMUM: "ERROR_NO_MINIMUM",
    Failure.DIED: "ERROR_OUTPUT_TRUNCATED",
    Failure.WALL_TIME: "ERROR_TIME_LIMIT",
}
"""Exit code of each failure of one structure; all other failures concern the structure itself."""

USABLE = frozenset({CONVERGED, Outcome.STEP_LIMIT, Outcome.TIME_LIMIT, Outcome.NO_MINIMUM})
"""Statuses whose last geometry is worth using further."""


class GulpParser(RelaxParser):
    """Turns the results of a batch, or of one structure, into nodes."""

    @property
    def is_single(self) -> bool:
        """Whether the job had one structure and no trials."""
        return "structure" in self.node.inputs

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Parse the files of the job; the failure of a single structure is the failure of the job."""
        exit_code = super().parse(**kwargs)
        if exit_code is not None or not self.is_single:
            return exit_code
        row = self.outputs.results.get_dict()
        if row["status"] == CONVERGED:
            return None
        name = EXIT_CODES.get(row["status"], "ERROR_BAD_STRUCTURE")
        reason = ": ".join(part for part in (row["status"], row["detail"]) if part)
        return getattr(self.exit_codes, name).format(reason=reason)

    def _rules(self) -> tuple[RelaxationRules, str]:
        return parse_settings(GulpSettings, self.node.inputs.parameters.get_dict()), GULP

    def _trials(self) -> list[Trial]:
        return [single_trial(self.node.inputs.structure.get_ase())] if self.is_single else super()._trials()

    def _add_outputs(
        self,
        trials: dict[str, Trial],
        results: dict[str, dict[str, Any]],
        geometries: dict[str, Atoms],
        software: dict[str, str],
    ) -> None:
        if not self.is_single:
            super()._add_outputs(trials, results, geometries, software)
            return
        ((label, row),) = results.items()
        atoms = geometries[label]
        self.out("results", orm.Dict({**row, "software": software}))
        text = to_extxyz([(atoms, {"label": label, "status": row["status"]})])
        self.out("relaxed", orm.SinglefileData.from_string(text, filename=RELAXED_FILE))
        if row["status"] in USABLE and has_sound_cell(atoms):
            self.out("structure", orm.StructureData(ase=atoms))
