"""The inputs of a search from a protocol and the changes of a user.

``get_builder_from_protocol`` is a class method of ``Fuse2WorkChain``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder, WorkChain

from aiida_fuse2.calculations.functions import pool_from_structures
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.generators import get_generator
from aiida_fuse2.core.search.checks import check_search
from aiida_fuse2.core.search.starts import pool_generators
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, parse_settings
from aiida_fuse2.environment.prototypes import packaged_library_node
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.query.target_checks import check_targets
from aiida_fuse2.tiers import RANKING, TierChoice, build_ranking, build_tiers, only_tier

from .second import add_second


def get_builder_from_protocol(  # noqa: D417 - the class is no argument of the method
    process_class: type[WorkChain],
    composition: str,
    code: orm.AbstractCode,
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    structures: Sequence[orm.StructureData] | None = None,
    pool: orm.SinglefileData | None = None,
    weights: orm.SinglefileData | None = None,
    options: Mapping[str, Any] | None = None,
    tiers: TierChoice | None = None,
    targets: Mapping[str, orm.StructureData] | None = None,
    prototypes: orm.SinglefileData | None = None,
    second: str | None = None,
) -> ProcessBuilder:
    """Return a builder with the inputs of a protocol.

    Args:
        composition: formula, e.g. ``SrTiO3``.
        code: installed command ``aiida-fuse2-worker``.
        protocol: ``fast``, ``balanced`` (default) or ``stringent``.
        overrides: nested inputs that win over the protocol, e.g. ``{'settings': {'max_atoms': 10}}``.
        structures: explicit starting structures in the graph; those that do not fit are omitted.
        pool: starting structures as a pool node, from files or made by ``fuse2.generate``.
        weights: weights of the graph network, if the generator needs them.
        options: options of both jobs, e.g. ``{'queue_name': 'short'}``.
        tiers: tiers that relax trials; by default the calculator of ``relax`` is the only one. Overrides can have the
            namespace ``tiers``: ``{'tiers': {'chgnet': {'settings': {'fmax': 0.02}}}}``, and likewise ``ranking``.
        targets: known structures by name.
        prototypes: library of prototypes; by default the packaged one, if its data are installed. Without any, a
            protocol that begins with prototypes begins with its other starts.
        second: potential that orders the answer, by name, or ``none``; by default that of the protocol where it is
            installed, see ``choose_second``.

    Raises:
        InputError: if a setting is wrong, no given structure fits, a target cannot be found, or ``second``
            cannot be used.
        SetupError: if ``second`` is not installed.
    """
    changes, of_tiers, of_ranking = split_overrides(overrides)
    inputs = protocol_inputs(protocol, changes)
    if options:
        for name in ("relax", "generate"):
            inputs[name]["metadata"]["options"].update(options)
    values = {"composition": composition, **inputs["settings"]}
    library = packaged_library_node() if prototypes is None else prototypes
    if library is None and "starts" not in (changes.get("settings") or {}):
        values["starts"] = without_prototypes(values["starts"])
    settings = parse_settings(SearchSettings, values)
    check_search(settings)
    parse_settings(RelaxSettings, inputs["relax"]["settings"], where="relax.settings")
    builder: ProcessBuilder = process_class.get_builder()
    if targets:
        check_targets(settings, targets)
        builder.targets = dict(targets)
    if library is not None:
        builder.prototypes = library
    values |= {"composition": settings.unit.formula, "starts": settings.starts}
    builder.settings = orm.Dict(with_text_keys(values))
    builder.clean_workdir = orm.Bool(inputs["clean_workdir"])
    choice = only_tier(inputs["relax"]["settings"]) if tiers is None else tiers
    builder.tiers = build_tiers(
        choice,
        worker=code,
        protocol=protocol,
        relax=inputs["relax"],
        overrides=of_tiers,
        elements=settings.unit.elements,
    )
    builder.ranking = _ranking(choice, inputs["relax"], protocol, of_ranking)
    if pool_generators(settings):
        builder.generate = _generate(code, inputs["generate"]["metadata"]["options"], weights)
    if structures:
        pool = _pool_of(builder.settings, structures)
    if pool is not None:
        builder.pool = pool
    add_second(builder, settings, second)
    return builder


def _generate(code: orm.AbstractCode, options: Mapping[str, Any], weights: orm.SinglefileData | None) -> dict[str, Any]:
    """Return the inputs of jobs that fill pools."""
    found: dict[str, Any] = {"code": code, "metadata": {"options": dict(options)}}
    return found if weights is None else found | {"weights": weights}


def _ranking(
    choice: TierChoice, relax: Mapping[str, Any], protocol: str | None, changes: Mapping[str, Any]
) -> dict[str, orm.Data]:
    """Return the inputs of the potential that ranks pools, if one is named; otherwise none."""
    if choice.rank_by is not None:
        return build_ranking(choice.rank_by, choice.potential, relax=relax, protocol=protocol, changes=changes)
    if changes:
        raise InputError(RANKING, changes, "says how a potential ranks pools: name it with --rank-by, e.g. pair")
    return {}


def without_prototypes(starts: Mapping[str, float]) -> dict[str, float]:
    """Return the starts that need no library of prototypes; all of them if there are no others."""
    own = {name: share for name, share in starts.items() if not get_generator(name).needs_library}
    return own or dict(starts)


def with_text_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values in which the names of moves are texts, as a Dict node stores them anyway."""
    return {
        key: {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else value
        for key, value in values.items()
    }


def split_overrides(overrides: Mapping[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the overrides of a search alone, those of its tiers, and those of the potential that ranks its pools.

    Raises:
        InputError: if they are no mapping.
    """
    if overrides is not None and not isinstance(overrides, Mapping):
        raise InputError("overrides", overrides, "must be a mapping, e.g. {'settings': {'max_atoms': 10}}")
    changes = dict(overrides or {})
    return changes, changes.pop("tiers", None) or {}, changes.pop(RANKING, None) or {}


def _pool_of(settings: orm.Dict, structures: Sequence[orm.StructureData]) -> orm.SinglefileData:
    outputs = pool_from_structures(settings, **{f"s{i:05d}": node for i, node in enumerate(structures)})
    if not outputs["summary"]["kept"]:
        raise InputError("structures", len(structures), f"none fits: {outputs['summary']['rejected']}")
    pool: orm.SinglefileData = outputs["pool"]
    return pool
