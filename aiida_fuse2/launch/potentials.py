"""Pair potentials in the graph: learning them, and storing those of users."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder
from aiida.manage.caching import get_use_cache

from aiida_fuse2.calculations.learn_potential import LearnPotentialCalculation
from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.pair import PairLibrary, read_library, write_library
from aiida_fuse2.core.relaxers.calculators import check_stress
from aiida_fuse2.core.settings import CHGNET, CHGNET_ELEMENTS, RelaxSettings, parse_settings
from aiida_fuse2.core.training.pair_settings import LearnSettings, check_learning
from aiida_fuse2.environment.software import worker_software
from aiida_fuse2.io.potentials import read_potentials
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.query.nodes import load_node

LEARN_IDENTIFIER = "aiida.calculations:fuse2.learn_potential"
"""Identifier by which the user switches on caching of the job."""

EXTRAS_KEY = "fuse2"
"""Extra of a stored library with its content."""


def learning_inputs(
    composition: str, protocol: str | None = None, overrides: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """Return the checked plain inputs for learning pair potentials.

    Args:
        composition: formula.
        protocol: protocol of ``protocols/potential.yaml``; the default one if None.
        overrides: nested values: ``settings``, and ``relax`` for the settings of relaxations with the teacher.

    Raises:
        InputError: if a value is wrong.
    """
    changes = dict(overrides or {})
    search = protocol_inputs("fast", {"relax": {"settings": changes.pop("relax", {})}})
    relax = search["relax"]["settings"]
    settings = protocol_inputs(protocol, changes, name="potential")["settings"]
    settings |= {"composition": composition, "validity": search["settings"]["validity"]}
    learning = parse_settings(LearnSettings, settings)
    check_learning(learning)
    tier = parse_settings(RelaxSettings, relax, where="relax")
    check_stress(tier)
    unknown = [element for element in learning.unit.elements if element not in CHGNET_ELEMENTS]
    if tier.calculator == CHGNET and unknown:
        raise InputError("settings.composition", composition, f"CHGNet was not trained with {', '.join(unknown)}")
    return {"settings": learning.model_dump(), "relax": tier.model_dump()}


def learning_builder(
    composition: str,
    code: orm.AbstractCode,
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> ProcessBuilder:
    """Return the builder of a job that learns pair potentials.

    Args:
        composition: formula.
        code: code of the worker.
        protocol: name of the protocol; the default one if None.
        overrides: nested values that win over the protocol.

    Raises:
        InputError: if a value is wrong.
    """
    inputs = learning_inputs(composition, protocol, overrides)
    builder = LearnPotentialCalculation.get_builder()
    builder.code = code
    builder.settings = orm.Dict(inputs["settings"])
    builder.relax = orm.Dict(inputs["relax"])
    if get_use_cache(identifier=LEARN_IDENTIFIER):  # results of other versions must not come from the cache
        versions = worker_software(code)
        if versions is not None:
            builder.software = orm.Dict(versions)
    return builder


def import_potentials(path: Path, composition: str | None = None) -> tuple[orm.SinglefileData, PairLibrary]:
    """Store the library of a file, a folder or a zip as one node.

    Args:
        path: file, folder or zip that ``read_potentials`` takes.
        composition: formula whose pairs are taken; all if None.

    Returns:
        The stored node and its content.

    Raises:
        InputError: if it cannot be read, or lacks a pair of the composition; all are named.
    """
    library = read_potentials(path)
    if composition is not None:
        elements = parse_composition(composition).elements
        library.require(elements, where="potential")
        library = library.restricted(elements)
    node = orm.SinglefileData.from_string(write_library(library), filename=f"{path.stem or 'potential'}.lib")
    node.label = path.name
    node.store()
    node.base.extras.set(EXTRAS_KEY, {"elements": list(library.elements), "pairs": len(library.pairs)})
    return node, library


def load_potential(identifier: str) -> orm.SinglefileData:
    """Return the library of an identifier of a node, or of the job that learned it.

    Raises:
        InputError: if there is no library.
    """
    node = load_node(identifier)
    if isinstance(node, orm.CalcJobNode) and "potential" in node.outputs:
        node = node.outputs.potential
    if not isinstance(node, orm.SinglefileData):
        raise InputError("potential", identifier, "is no library of pair potentials, nor a job that learned one")
    return node


def library_of(node: orm.SinglefileData) -> PairLibrary:
    """Return the content of a stored library.

    Raises:
        InputError: if the file is no library.
    """
    return read_library(node.get_content())


def report_of(node: orm.SinglefileData) -> dict[str, Any] | None:
    """Return the report of the job that learned a library, or None if it was imported."""
    creator = node.creator
    if creator is None or "report" not in creator.outputs:
        return None
    report: dict[str, Any] = creator.outputs.report.get_dict()
    return report
