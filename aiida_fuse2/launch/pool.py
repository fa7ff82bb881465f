"""Inputs of a job that fills a pool, and existing pools."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common.exceptions import AiidaException
from aiida.engine import ProcessBuilder

from aiida_fuse2.calculations.functions import select_prototypes
from aiida_fuse2.calculations.generate import GenerateCalculation, needs_tier, needs_weights
from aiida_fuse2.core.errors import InputError, one_line
from aiida_fuse2.core.generators import get_generator
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.launch.inputs import check_inputs, search_builder
from aiida_fuse2.launch.jobs import check_calculators
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.query.nodes import load_node
from aiida_fuse2.workchains.search_inputs import ranking_inputs

from .models import find_model


def load_pool(identifier: str) -> orm.SinglefileData:
    """Return a pool in the graph.

    Args:
        identifier: PK or UUID of the pool, or of the job that made it.

    Raises:
        InputError: if there is none.
    """
    try:
        node = load_node(identifier)
    except (AiidaException, ValueError) as error:
        raise InputError("--pool", identifier, f"cannot be loaded ({one_line(error)})") from error
    if isinstance(node, orm.CalcJobNode) and "pool" in node.outputs:
        node = node.outputs.pool
    if not isinstance(node, orm.SinglefileData):
        raise InputError("--pool", identifier, "is no pool: give the output `pool` of `aiida-fuse2 generate`")
    return node


def add_weights(builder: ProcessBuilder, settings: SearchSettings, model: str | None) -> None:
    """Add the weights that a generator needs.

    Raises:
        InputError: if there are none, or a model is named and not needed.
    """
    if needs_weights(settings):
        builder.generate.weights = find_model(model)
    elif model is not None:
        expected = "the search needs no weights; --network-model goes with --starts gnoa --network megnet"
        raise InputError("--network-model", model, expected)


def prepare_pool(
    composition: str,
    *,
    code: orm.AbstractCode,
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    network_model: str | None = None,
    prototypes: orm.SinglefileData | None = None,
) -> ProcessBuilder:
    """Return the inputs of a job that makes a pool without a search, checked.

    Args:
        composition: formula, e.g. ``SrTiO3``.
        code: code of the worker.
        protocol: name of the protocol; the default one if None.
        overrides: nested inputs of a search that win over the protocol.
        network_model: weights of a graph network, as for ``prepare_search``.
        prototypes: library of prototypes; by default the packaged one. The job has those that the composition can
            adopt.

    Raises:
        InputError: for the first wrong input.
        RefusedInputsError: if AiiDA refuses an input.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        search = search_builder(composition, code, protocol, dict(overrides or {}), prototypes=prototypes)
    settings = parse_settings(SearchSettings, search.settings.get_dict())
    makers = [name for name in settings.starts if get_generator(name).makes_structures]
    if not makers:
        raise InputError("settings.starts", settings.starts, "makes no structures: name another generator")
    builder: ProcessBuilder = GenerateCalculation.get_builder()
    builder.code = code
    builder.settings = search.settings
    builder.pool_number = orm.Int(0)
    if len(makers) < len(settings.starts):
        builder.generators = makers
    builder.metadata.options = protocol_inputs(protocol, overrides)["generate"]["metadata"]["options"]
    if needs_tier(settings):
        for name, node in ranking_inputs(search).items():
            builder[name] = node
    if settings.pool.ranking == "relaxed":
        check_calculators(search)
    if needs_weights(settings):
        builder.weights = find_model(network_model)
    elif network_model is not None:
        add_weights(search, settings, network_model)  # which reports that it is not needed
    uses_library = any(get_generator(name).needs_library for name in makers)
    if uses_library and "prototypes" in search:
        builder.prototypes = search.prototypes
    check_inputs(builder)
    if uses_library:
        builder.prototypes = select_prototypes(settings=builder.settings, library=builder.prototypes)
    return builder
