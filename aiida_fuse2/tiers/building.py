"""The inputs of a WorkChain from names of tiers and changes to their defaults."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiida import orm

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.parsers.memory import WORKER
from aiida_fuse2.protocols import check_extent, merge, protocol_inputs

from .base import ASE, BatchTier, Tier
from .registry import MAX_TIERS, check_tiers, load_tier, read_tiers, tier_key, tier_names

CHANGED = ("settings", "options", "concurrent")
"""Values of a tier that can be changed."""

PRESSURE = "pressure"


@dataclass(frozen=True, kw_only=True)
class TierChoice:
    """The tiers that a user asks for.

    Attributes:
        names: names of the tiers, in their order.
        codes: codes by the name of the tier, or that and the name of the code: ``vasp``, ``gulp.worker``.
        potential: library of pair potentials for the tiers that take one.
        rank_by: tier whose potential ranks pools; see `build_ranking`. If None, the last tier that can.
    """

    names: Sequence[str]
    codes: Mapping[str, orm.AbstractCode] = field(default_factory=dict)
    potential: orm.SinglefileData | None = None
    rank_by: str | None = None


def only_tier(relax_settings: Mapping[str, Any]) -> TierChoice:
    """Return the default tier of a search: that of the calculator of ``relax.settings``."""
    calculator = relax_settings["calculator"]
    return TierChoice(names=[calculator if calculator in tier_names() else ASE])


def build_tiers(
    choice: TierChoice,
    *,
    worker: orm.AbstractCode | None,
    protocol: str | None = None,
    relax: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    elements: Collection[str],
) -> dict[str, dict[str, Any]]:
    """Return the input namespace ``tiers``, checked.

    Args:
        choice: names, codes and library.
        worker: code of the tiers that this package's worker computes, if ``choice`` names no other; or None.
        protocol: protocol of the search; the default one if None.
        relax: ``relax`` of the inputs of the search: default settings and options of tiers of the worker. The
            pressure of its settings is that of every tier.
        overrides: overrides by name of the tier, or its key (``t00``) if a name comes twice: ``settings``, ``options``
            and ``concurrent`` win.
        elements: elements of all structures.

    Raises:
        InputError: for the first wrong input.
    """
    names = list(choice.names)
    if not 1 <= len(names) <= MAX_TIERS:
        raise InputError("tiers", ",".join(names), f"must name 1 to {MAX_TIERS} tiers")
    tiers = [load_tier(name) for name in names]
    changes = changes_of_tiers(overrides or {}, names)
    _check_codes(choice.codes, dict(zip(names, tiers, strict=True)))
    takers = tiers if choice.rank_by is None else [*tiers, load_tier(choice.rank_by, where="--rank-by")]
    if choice.potential is not None and not any(tier.takes_potential for tier in takers):
        raise InputError("--pair-library", choice.potential.pk, f"none of the tiers {', '.join(names)} takes a library")
    base = relax or protocol_inputs(protocol)["relax"]
    ports = {
        tier_key(position): _ports(
            name, tier, choice=choice, worker=worker, relax=base, protocol=protocol, changes=changes[position]
        )
        for position, (name, tier) in enumerate(zip(names, tiers, strict=True))
    }
    check_tiers(read_tiers(ports), elements)
    return ports


def changes_of_tiers(overrides: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the changes of each tier, in the order of the tiers.

    Args:
        overrides: overrides by name of the tier or its key, which wins.
        names: names of the tiers.

    Raises:
        InputError: if they name no tier, or what cannot be changed of one.
    """
    check_extent(overrides)
    keys = [tier_key(position) for position in range(len(names))]
    if not isinstance(overrides, Mapping):
        raise InputError("tiers", overrides, f"must be a mapping of {', '.join(names)}")
    for name, changes in overrides.items():
        if name not in {*names, *keys}:
            raise InputError(f"tiers.{name}", changes, f"must be one of {', '.join(names)}")
        if not isinstance(changes, Mapping):
            raise InputError(f"tiers.{name}", changes, f"must be a mapping of {', '.join(CHANGED)}")
        for key, value in changes.items():
            if key not in CHANGED:
                raise InputError(f"tiers.{name}.{key}", value, f"must be one of {', '.join(CHANGED)}")
            if key != "concurrent" and not isinstance(value, Mapping):
                raise InputError(f"tiers.{name}.{key}", value, "must be a mapping")
    return [merge(overrides.get(name, {}), overrides.get(key, {})) for name, key in zip(names, keys, strict=True)]


def _check_codes(codes: Mapping[str, orm.AbstractCode], tiers: Mapping[str, type[Tier]]) -> None:
    for name, code in codes.items():
        tier, _, program = name.partition(".")
        if tier not in tiers:
            raise InputError("--tier-code", f"{name}={code.full_label}", f"the tiers are {', '.join(tiers)}")
        if program and program not in tiers[tier].codes:
            expected = f"codes of {tier} are {', '.join(tiers[tier].codes)}"
            raise InputError("--tier-code", f"{name}={code.full_label}", expected)


def _ports(
    name: str,
    tier: type[Tier],
    *,
    choice: TierChoice,
    worker: orm.AbstractCode | None,
    relax: Mapping[str, Any],
    protocol: str | None,
    changes: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the inputs of one tier."""
    defaults = protocol_inputs(protocol, name="tiers").get(name, {})
    settings = merge(tier.base_settings(relax["settings"]), defaults.get("settings", {}))
    if PRESSURE in tier.settings_model.model_fields:
        settings[PRESSURE] = relax["settings"][PRESSURE]
    settings = merge(settings, changes.get("settings", {}))
    parse_settings(tier.settings_model, settings, where=f"tiers.{name}.settings")
    shared = relax["metadata"]["options"] if issubclass(tier, BatchTier) else {}
    options = merge(merge(shared, defaults.get("options", {})), changes.get("options", {}))
    ports: dict[str, Any] = {
        "name": orm.Str(name),
        "settings": orm.Dict(settings),
        "codes": {program: _code(name, program, tier, choice.codes, worker) for program in tier.codes},
        "options": orm.Dict(options),
    }
    if tier.takes_potential and choice.potential is not None:
        ports["potential"] = choice.potential
    concurrent = changes.get("concurrent", defaults.get("concurrent"))
    if concurrent is not None:
        if isinstance(concurrent, bool) or not isinstance(concurrent, int) or issubclass(tier, BatchTier):
            expected = "must be a whole number, and is for tiers that take a process for each structure"
            raise InputError(f"tiers.{name}.concurrent", concurrent, expected)
        ports["concurrent"] = orm.Int(concurrent)
    return ports


def _code(
    name: str, program: str, tier: type[Tier], codes: Mapping[str, orm.AbstractCode], worker: orm.AbstractCode | None
) -> orm.AbstractCode:
    """Return the code of a program of a tier."""
    named = codes.get(f"{name}.{program}", codes.get(name) if program == tier.codes[-1] else None)
    if named is None and program == WORKER and worker is not None:
        return worker
    if named is None:
        option = "--code LABEL" if program == WORKER else f"--tier-code {name}=LABEL"
        expected = f"the tier {name!r} needs the code of {program}: {option}"
        raise InputError(f"tiers.{name}.codes.{program}", None, expected)
    return named
