"""A job that learns pair potentials."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from aiida_fuse2.core.errors import GenerationError, InputError
from aiida_fuse2.core.potentials.pair import write_library
from aiida_fuse2.core.potentials.pair.fitting import Frame
from aiida_fuse2.core.relaxers import make_evaluator
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.core.training.pair import learn_potential
from aiida_fuse2.core.training.pair_settings import LearnSettings, check_learning
from aiida_fuse2.io.names import FRAMES_FILE, POTENTIAL_FILE, SUMMARY_FILE

from .software import software_versions

TITLE = """Pair potentials of {composition}, learned by aiida-fuse2 from {teacher} (seed {seed}).
Cubic splines up to {cutoff:g} Angstrom, for use without electrostatics; energies in eV.
The energy of the free atoms, {offset:.4f} eV per atom, is not included.
These are not published potentials: they are valid for this composition only.
"""


def frames_to_text(frames: Sequence[Frame]) -> str:
    """Return frames as extended XYZ with energies, forces and stresses."""
    from ase.io import write

    structures = []
    for frame in frames:
        atoms = Atoms(numbers=frame.numbers, positions=frame.positions, cell=frame.cell, pbc=True)
        target = frame.target
        atoms.calc = SinglePointCalculator(
            atoms, energy=target.energy, forces=target.forces, stress=full_3x3_to_voigt_6_stress(target.stress)
        )
        structures.append(atoms)
    buffer = io.StringIO()
    write(buffer, structures, format="extxyz")
    return buffer.getvalue()


def run_learn_job(job: dict[str, Any], folder: Path) -> None:
    """Run a job that learns pair potentials in a folder.

    Args:
        job: ``settings`` of learning, and ``relax``: settings of relaxing with the teacher.
        folder: where potentials, frames and report are written.

    Raises:
        InputError: if settings are wrong, or the generators make no structures with them.
    """
    settings = parse_settings(LearnSettings, job["settings"])
    check_learning(settings)
    tier = parse_settings(RelaxSettings, job["relax"], where="relax")
    try:
        learned = learn_potential(settings, tier, make_evaluator(tier))
    except GenerationError as error:
        expected = f"the generators make too few structures ({error.detail}); raise max_atoms or name others"
        raise InputError("settings.generators", settings.generators, expected) from error
    report = learned.report | {"software": software_versions()}
    title = TITLE.format(**report, cutoff=settings.cutoff, offset=learned.fit.offset)
    (folder / POTENTIAL_FILE).write_text(write_library(learned.fit.library, title=title))
    (folder / FRAMES_FILE).write_text(frames_to_text(learned.frames))
    (folder / SUMMARY_FILE).write_text(json.dumps(report))
