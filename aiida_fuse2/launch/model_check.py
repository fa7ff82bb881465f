"""The check of a potential: a known crystal, relaxed by a job, against the energy in its description."""

from __future__ import annotations

import time
from dataclasses import dataclass

from aiida import orm
from aiida.engine import run_get_node
from ase.build import bulk

from aiida_fuse2.calculations.relax import RelaxCalculation
from aiida_fuse2.core.errors import Fuse2Error, InputError
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.search.trials import single_trial, trial_label
from aiida_fuse2.environment.models import Installed
from aiida_fuse2.io.names import TRIALS_FILE
from aiida_fuse2.io.trials import trials_to_text
from aiida_fuse2.protocols import merge, protocol_inputs

LABEL = trial_label(0, 0, 0)


class CheckError(Fuse2Error):
    """A potential did not relax the known crystal."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a potential makes of a known crystal.

    Attributes:
        node: the job.
        crystal: its formula.
        energy: energy of the relaxed crystal, eV/atom.
        lattice: its lattice constant, Å.
        expected: energy in the description, or None if it has none.
        seconds: CPU time of the relaxation.
        wall_seconds: time from the submission to the end of the job.
        is_right: whether the energies agree within the tolerance; None if there is nothing to compare with.
    """

    node: orm.CalcJobNode
    crystal: str
    energy: float
    lattice: float
    expected: float | None
    seconds: float
    wall_seconds: float
    is_right: bool | None


def check_model(installed: Installed) -> Checked:
    """Relax a known crystal with a potential, in a job of its code, and compare its energy.

    Args:
        installed: the potential and its code.

    Raises:
        InputError: if the potential was not trained with the elements of the crystal.
        CheckError: if the job, or the relaxation, fails.
    """
    inputs = protocol_inputs(name="model")
    relax = protocol_inputs()["relax"]
    atoms = bulk(inputs["crystal"], "rocksalt", a=inputs["lattice"])
    unknown = sorted(set(atoms.symbols) - installed.model.elements)
    if unknown:
        problem = f"was not trained with {', '.join(unknown)}, and the check relaxes {inputs['crystal']}"
        raise InputError("model check", installed.model.name, problem)
    trial = single_trial(atoms, LABEL, origin="check")
    builder = RelaxCalculation.get_builder()
    builder.code = installed.code
    builder.trials = orm.SinglefileData.from_string(trials_to_text([trial]), filename=TRIALS_FILE)
    builder.settings = orm.Dict(merge(merge(relax["settings"], inputs["settings"]), installed.settings))
    builder.metadata.options = {**relax["metadata"]["options"], "max_wallclock_seconds": 3600}
    begun = time.monotonic()
    _, node = run_get_node(builder)
    wall_seconds = time.monotonic() - begun
    if "results" not in node.outputs:
        raise CheckError(f"the job {node.pk} failed: {node.exit_message or node.process_state.value}")
    row = node.outputs.results.get_dict()["by_label"][LABEL]
    if row["status"] != CONVERGED:
        raise CheckError(f"job {node.pk}: {inputs['crystal']} could not be relaxed, {row['status']} {row['detail']}")
    expected = installed.model.energy
    return Checked(
        node=node,
        crystal=inputs["crystal"],
        energy=row["energy"],
        lattice=float((4 * node.outputs.structures[LABEL].get_cell_volume()) ** (1 / 3)),
        expected=expected,
        seconds=row["cpu_seconds"],
        wall_seconds=wall_seconds,
        is_right=None if expected is None else abs(row["energy"] - expected) <= inputs["tolerance"],
    )
