"""Inputs of a refinement: the best structures of searches through further tiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.common.exceptions import AiidaException
from aiida.engine import ProcessBuilder

from aiida_fuse2 import query
from aiida_fuse2.core.errors import InputError, RefusedInputsError
from aiida_fuse2.environment.models import check_elements
from aiida_fuse2.launch.inputs import best_rows, check_inputs
from aiida_fuse2.launch.jobs import check_calculators
from aiida_fuse2.protocols import merge, protocol_inputs
from aiida_fuse2.protocols.models import Model
from aiida_fuse2.query.tiers import last_tier, tiers_of_search
from aiida_fuse2.tiers import TierChoice
from aiida_fuse2.tiers.correlation import mixed_functionals
from aiida_fuse2.workchains.refine import Fuse2RefineWorkChain


def warning_of(searches: Sequence[orm.WorkChainNode], builder: ProcessBuilder) -> str | None:
    """Return a warning about what the tiers of a refinement change beside the accuracy, or None.

    Args:
        searches: as for ``prepare_refinement``.
        builder: result of ``prepare_refinement``.
    """
    first = next(search for node in searches for search in query.single_searches(node))
    tiers = [*tiers_of_search(first.inputs), *tiers_of_search(builder)]
    return mixed_functionals([tier[:2] for tier in tiers], query.search_settings(first).unit.elements)


def prepare_refinement(
    searches: Sequence[orm.WorkChainNode],
    tiers: TierChoice,
    *,
    code: orm.AbstractCode,
    best: int | None = None,
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    model: Model | None = None,
) -> ProcessBuilder:
    """Return the inputs of a refinement, checked.

    Tiers have the pressure of the searches, unless overrides say otherwise. Structures are named by the library of
    structure types of the first search that has one.

    Args:
        searches: searches, or several runs of one, for one composition and with one potential.
        tiers: tiers through which their structures go.
        code: code of the worker.
        best: number of unique structures, lowest energy first; by default that of the protocol.
        protocol: protocol of searches.
        overrides: see ``Fuse2RefineWorkChain.get_builder_from_protocol``.
        model: potential by name that the overrides have; its elements are checked.

    Raises:
        InputError: for the first wrong input.
        RefusedInputsError: if AiiDA refuses an input.
    """
    if overrides is not None and not isinstance(overrides, Mapping):
        raise InputError("overrides", overrides, "must be a mapping, e.g. {'tiers': {'chgnet': {}}}")
    single = [search for node in searches for search in query.single_searches(node)]
    number = protocol_inputs(None, name="refine")["best"] if best is None else best
    if number < 1:
        raise InputError("--best", number, "must be at least 1")
    rows = best_rows(single, number)
    if model is not None:
        check_elements(model, query.search_settings(single[0]).unit.elements)
    pressure = last_tier(single[0].inputs)[1].get("pressure", 0.0)
    changes = merge({"relax": {"settings": {"pressure": pressure}}}, overrides or {})
    library = next((search.inputs.prototypes for search in single if "prototypes" in search.inputs), None)
    refine = Fuse2RefineWorkChain.get_builder_from_protocol
    try:
        builder = refine(rows, tiers, code, protocol, changes, prototypes=library)
    except InputError:
        raise
    except (ValueError, TypeError, AiidaException) as error:  # an input that does not exist, or is of the wrong type
        raise RefusedInputsError(f"AiiDA refuses an input: {error}") from error
    check_inputs(builder)
    check_calculators(builder)
    return builder
