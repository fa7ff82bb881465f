"""Random starts and the potential of the benchmarks of relaxations."""

from __future__ import annotations

from functools import cache
from typing import Any

from ase import Atoms

from aiida_fuse2.core.potentials.chgnet.build import InstructionSet
from aiida_fuse2.core.potentials.chgnet.native_backend import NativeChgnet
from aiida_fuse2.core.potentials.evaluation import Evaluator
from aiida_fuse2.core.relaxers import make_evaluator
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, parse_settings
from aiida_fuse2.workchains.protocols import protocol_inputs
from aiida_fuse2.worker.generating import generate_pool

START_SEEDS = (7,)
"""Seeds of the starts that are reported; what was tuned was tuned on others (101 and 102)."""


@cache
def evaluator(code: str = "native") -> Evaluator:
    """Return CHGNet 0.3.0 on one core.

    Args:
        code: ``native``, an instruction set of the native kernel, ``torch``, or ``stock`` for the published package.
    """
    if code in {"torch", "stock"}:
        return make_evaluator(tier(backend="reference" if code == "stock" else code))
    return NativeChgnet("0.3.0", instruction_set=None if code == "native" else InstructionSet(code))


def tier(**changes: Any) -> RelaxSettings:
    """Return relaxation settings: those of the protocol ``balanced``, changed."""
    inputs = protocol_inputs("balanced", {"relax": {"settings": changes}})
    return parse_settings(RelaxSettings, inputs["relax"]["settings"])


def make_starts(composition: str, most: int, generator: str, *, seed: int, count: int, least: int = 1) -> list[Atoms]:
    """Return valid random structures.

    Args:
        composition: formula.
        most: most atoms of a cell.
        generator: of the pool.
        seed: of the random numbers.
        count: how many.
        least: fewest atoms of a cell.
    """
    changes = {
        "generator": generator,
        "max_atoms": most,
        "seed": seed,
        "pool": {"size": count, "max_attempts_factor": 500, "min_atoms": least},
    }
    values = protocol_inputs("balanced", {"settings": changes})["settings"]
    return generate_pool(parse_settings(SearchSettings, {**values, "composition": composition}), 0)[0]
