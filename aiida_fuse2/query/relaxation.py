"""The limits to which the structures of searches were relaxed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent

from aiida_fuse2.core.relaxers.tiers import NOT_ALL_MINIMA
from aiida_fuse2.core.relaxers.tiers import relaxed_to as of_tier
from aiida_fuse2.core.settings import CHGNET, PAIR
from aiida_fuse2.tiers import Tier, find_tier
from aiida_fuse2.tiers.base import ASE

from .chain import segments
from .loading import PROCESS_TYPE, RUNS_PROCESS_TYPE
from .tiers import last_tier

RELAXERS = frozenset({CHGNET, PAIR, ASE})
"""Tiers whose job is ``fuse2.relax``."""


def relaxed_to(node: orm.WorkChainNode | int) -> str:
    """Return in one line to which limits the listed structures were relaxed, and a warning.

    Example: "relaxed to 0.05 eV/Å with CHGNet 0.3.0; saddle points and shallow slopes may be among them". Where a
        search
    continues from one with other settings, the text has the limits of both.

    Args:
        node: search, several runs of one, refinement, or finish; or its primary key.
    """
    process = orm.load_node(node) if isinstance(node, int) else node
    if process.process_type == RUNS_PROCESS_TYPE:
        inputs = [process.inputs.search]
    elif process.process_type == PROCESS_TYPE:
        inputs = [orm.load_node(segment.search).inputs for segment in segments(process.pk)]
    else:
        inputs = [process.inputs]
    found: list[str] = []
    for given in inputs:
        with suppress(KeyError, NotExistent):  # missing in an archive
            name, settings, _ = last_tier(given)
            found.append(of_tier(program_of(name, settings), settings))
    limits = ", then to ".join(dict.fromkeys(found)) or "a limit that is not in this profile"
    return f"relaxed to {limits}; {NOT_ALL_MINIMA}"


def tier_of(name: str, settings: Mapping[str, Any]) -> type[Tier] | None:
    """Return the tier that computes with settings, or None if it is not installed.

    For the tiers with the job ``fuse2.relax`` the calculator decides: a search without tiers has no name.

    Args:
        name: name of the tier.
        settings: settings of the tier.
    """
    if name in RELAXERS:
        name = settings["calculator"] if settings.get("calculator") in RELAXERS else ASE
    return find_tier(name)


def program_of(name: str, settings: Mapping[str, Any]) -> str:
    """Return the name of the program of a tier; the name of the tier if it is not installed."""
    tier = tier_of(name, settings)
    return name if tier is None else tier.program_of(settings)
