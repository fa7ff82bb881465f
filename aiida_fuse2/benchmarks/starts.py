"""Random starts and the potential of the benchmarks of relaxations."""

from __future__ import annotations

from functools import cache
from typing import Any

from ase import Atoms

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.generators import PoolContext, single_generator
from aiida_fuse2.core.potentials.chgnet.build import NEEDED, BuildError, InstructionSet, processor_flags
from aiida_fuse2.core.potentials.chgnet.native_backend import NativeChgnet
from aiida_fuse2.core.potentials.evaluation import Evaluator
from aiida_fuse2.core.relaxers import make_evaluator
from aiida_fuse2.core.search.checks import check_search
from aiida_fuse2.core.settings import CHGNET_ELEMENTS, RelaxSettings, SearchSettings, parse_settings
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.worker.generating import generate_pool

NATIVE, TORCH, STOCK = "native", "torch", "stock"
CODES = (NATIVE, *(str(s) for s in InstructionSet), TORCH, STOCK)
"""Codes that compute CHGNet: the native kernel, for one instruction set or the widest; PyTorch; the published one."""

MODEL = "0.3.0"

PROTOCOL = "balanced"

ATTEMPTS_FACTOR = 500
"""Attempts at starts, in multiples of their number; few attempts of fgen are valid in small cells."""


@cache
def evaluator(code: str = NATIVE) -> Evaluator:
    """Return CHGNet 0.3.0 on one core.

    Args:
        code: one of ``CODES``.

    Raises:
        InputError: if this code cannot run here.
    """
    if code in {TORCH, STOCK}:
        return make_evaluator(tier(model=MODEL, backend="reference" if code == STOCK else TORCH))
    chosen = None if code == NATIVE else InstructionSet(code)
    if chosen is not None and not NEEDED[chosen] <= processor_flags():
        raise InputError("METHODS", code, "this processor does not have these instructions")
    try:
        return NativeChgnet(MODEL, instruction_set=chosen)
    except BuildError as error:
        raise InputError("METHODS", code, f"{error}; {TORCH}/... needs no compiler") from error


def tier(**changes: Any) -> RelaxSettings:
    """Return relaxation settings: those of the protocol ``balanced``, with changes."""
    inputs = protocol_inputs(PROTOCOL, {"relax": {"settings": changes}})
    return parse_settings(RelaxSettings, inputs["relax"]["settings"])


def check_elements(settings: SearchSettings) -> None:
    """Refuse elements that CHGNet was not trained with.

    Raises:
        InputError: for the first one.
    """
    unknown = next((s for s in settings.unit.elements if s not in CHGNET_ELEMENTS), None)
    if unknown is not None:
        raise InputError("composition", settings.composition, f"CHGNet was not trained with {unknown}")


def start_settings(
    composition: str, most: int, generator: str, *, seed: int, count: int, least: int = 1
) -> SearchSettings:
    """Return the settings for making starts; the arguments are those of ``make_starts``.

    Raises:
        InputError: if they are wrong.
    """
    changes = {
        "starts": {generator: 1},
        "max_atoms": most,
        "seed": seed,
        "pool": {"size": count, "max_attempts_factor": ATTEMPTS_FACTOR, "min_atoms": least},
    }
    values = protocol_inputs(PROTOCOL, {"settings": changes})["settings"]
    settings = parse_settings(SearchSettings, {**values, "composition": composition})
    check_search(settings)
    check_elements(settings)
    return settings


def make_starts(composition: str, most: int, generator: str, *, seed: int, count: int, least: int = 1) -> list[Atoms]:
    """Return valid random structures; the first of them are the same for every ``count``.

    Args:
        composition: formula.
        most: largest number of atoms of a cell.
        generator: generator of the pool.
        seed: seed of the random numbers.
        count: number of starts.
        least: smallest number of atoms of a cell.

    Raises:
        InputError: if an argument is wrong.
    """
    settings = start_settings(composition, most, generator, seed=seed, count=count, least=least)
    pool = PoolContext(settings=settings, size=count, limit=settings.initial_limit, number=0)
    return generate_pool(single_generator(generator), pool)[0]
