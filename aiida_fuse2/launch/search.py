"""Inputs of a search."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiida import orm

from aiida_fuse2.core.errors import InputError, RefusedInputsError, one_line
from aiida_fuse2.core.search.checks import check_search
from aiida_fuse2.core.search.policy import BANDIT
from aiida_fuse2.core.settings import PROVIDED, SearchSettings, parse_settings
from aiida_fuse2.io.trials import from_extxyz
from aiida_fuse2.launch.inputs import Prepared, check_inputs, search_builder
from aiida_fuse2.launch.jobs import check_calculators
from aiida_fuse2.protocols import check_extent, merge, protocol_inputs
from aiida_fuse2.query.tiers import tiers_of_search
from aiida_fuse2.tiers import TierChoice
from aiida_fuse2.tiers.correlation import mixed_functionals
from aiida_fuse2.workchains.search_builder import split_overrides
from aiida_fuse2.workchains.second import add_second

from .cores import share_cores
from .policy import learned_state
from .pool import add_weights, load_pool
from .starts import Starts, add_starts, name_of, structures_of_group
from .targets import targets_of_files


def prepare_search(
    composition: str,
    *,
    code: orm.AbstractCode,
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    paths: Sequence[Path] = (),
    group: str | None = None,
    pool: str | None = None,
    network_model: str | None = None,
    store: bool = True,
    tiers: TierChoice | None = None,
    targets: Sequence[Path] = (),
    prototypes: orm.SinglefileData | None = None,
    experiment: str | None = None,
    policy_from: str | None = None,
    second: str | None = None,
) -> Prepared:
    """Return the inputs of a search, checked.

    With starting structures ``starts`` is ``provided`` unless the overrides name others: the
    structures that fit make the initial population, in the given order, filled to its size
    by the random generator; the rest wait for moves that draw from the pool.

    Args:
        composition: formula, e.g. ``SrTiO3``.
        code: code of the worker.
        protocol: name of the protocol; the default one if None.
        overrides: nested inputs that win over the protocol.
        paths: files or directories with starting structures.
        group: label of a group of starting structures.
        pool: pool in the graph to start from, by PK or UUID.
        network_model: weights of a graph network, by name, PK or UUID, if the generator needs some; by default the
            newest installed ones.
        store: whether the graph may be written to; if not, structures of a group become an unstored pool.
        tiers: tiers that relax trials; by default there is one.
        targets: files of known structures.
        prototypes: library of prototypes; by default the packaged one.
        experiment: name of the paper's experiment that the inputs are those of, for comparisons.
        policy_from: search by PK or UUID, with what it has learned this one begins. ``settings.policy`` is then
            ``bandit`` unless the overrides name one.
        second: potential that orders the answer, by name, or ``none``; by default that of the protocol where it is
            installed, see ``choose_second``.

    Raises:
        NoSearchError: if ``policy_from`` is no search.
        InputError: for the first wrong input.
        RefusedInputsError: if AiiDA refuses an input.
        SetupError: if ``second`` is not installed.
    """
    learned = None if policy_from is None else learned_state(policy_from)
    _check_one_kind(paths, group, pool)
    has_structures = bool(paths) or group is not None or pool is not None
    changes = _changes(overrides, has_structures=has_structures, has_learned=learned is not None)
    given: dict[str, Any] = {"tiers": tiers, "prototypes": prototypes}
    nodes = [] if group is None else structures_of_group(group)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        known = _read_targets(composition, protocol, changes, targets)
        builder = search_builder(composition, code, protocol, changes, targets=known, **given)
        starts = Starts.from_paths(paths) if paths else Starts.from_nodes(nodes)
    messages = tuple(dict.fromkeys(str(w.message) for w in caught if w.category is UserWarning))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = parse_settings(SearchSettings, builder.settings.get_dict())
        kept, skipped = add_starts(builder, settings, starts)
        if pool is not None:
            builder.pool = load_pool(pool)
            kept = _count_fitting(builder.pool, settings)
        add_weights(builder, settings, network_model)
        if nodes and store:  # the same, with its provenance
            usable = [node for node in nodes if name_of(node) in dict(starts.structures)]
            builder = search_builder(composition, code, protocol, changes, usable, targets=known, **given)
            add_weights(builder, settings, network_model)
    if experiment is not None:
        builder.experiment = orm.Str(experiment)
    if learned is not None:
        builder.policy = learned
    order = add_second(builder, settings, second)
    return _checked(Prepared(builder=builder, kept=kept, skipped=skipped, warnings=messages, second=order))


def _changes(overrides: Mapping[str, Any] | None, *, has_structures: bool, has_learned: bool) -> dict[str, Any]:
    """Return the overrides, checked, with what starting structures and a learned policy change."""
    if overrides is not None and not isinstance(overrides, Mapping):
        raise InputError("overrides", overrides, "must be a mapping, e.g. {'settings': {'max_atoms': 10}}")
    check_extent(overrides)
    changes = _with_provided(dict(overrides or {})) if has_structures else dict(overrides or {})
    return merge({"settings": {"policy": BANDIT}}, changes) if has_learned else changes


def _check_one_kind(paths: Sequence[Path], group: str | None, pool: str | None) -> None:
    """Refuse starting structures of several kinds."""
    if (bool(paths), group is not None, pool is not None).count(True) > 1:
        field, value = ("--pool", pool) if group is None else ("--group", group)
        raise InputError(field, value, "give starting structures by one of --structures, --group and --pool, not both")


def _checked(prepared: Prepared) -> Prepared:
    """Return a search whose inputs are checked, with a warning where its functionals do not go together."""
    builder = prepared.builder
    share_cores(builder, 1)
    check_inputs(builder)
    check_calculators(builder)
    mixed = mixed_functionals([tier[:2] for tier in tiers_of_search(builder)], prepared.settings.unit.elements)
    return prepared if mixed is None else replace(prepared, warnings=(*prepared.warnings, mixed))


def _read_targets(
    composition: str, protocol: str | None, changes: Mapping[str, Any], paths: Sequence[Path]
) -> dict[str, orm.StructureData]:
    """Return the targets in files by name."""
    if not paths:
        return {}
    inputs = protocol_inputs(protocol, split_overrides(changes)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the search reports it
        settings = parse_settings(SearchSettings, {**inputs["settings"], "composition": composition})
        check_search(settings)
    return targets_of_files(paths, settings)


def _count_fitting(pool: orm.SinglefileData, settings: SearchSettings) -> int:
    """Return the number of structures of a pool that a search can use.

    Raises:
        RefusedInputsError: if it can use none.
    """
    try:
        structures = from_extxyz(pool.get_content())
    except Exception as error:  # ASE raises various errors for a text that is no extended XYZ
        raise InputError("--pool", pool.pk, f"cannot be read as extended XYZ ({one_line(error)})") from error
    fitting = [a for a in structures if settings.unit.z_of(a) is not None and len(a) <= settings.max_atoms]
    if not fitting:
        what = f"{settings.unit.formula} with at most {settings.max_atoms} atoms"
        raise RefusedInputsError(f"none of the {len(structures)} structures of the pool is {what}")
    return len(fitting)


def _with_provided(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return overrides with ``provided`` as ``starts``, unless they name some."""
    settings = changes.get("settings", {})
    is_open = isinstance(settings, Mapping) and "starts" not in settings
    return merge(changes, {"settings": {"starts": {PROVIDED: 1}}} if is_open else {})
