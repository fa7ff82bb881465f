"""The potential that ranks pools: one of the worker, whether or not trials are relaxed with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.relaxers.calculators import check_stress
from aiida_fuse2.core.settings import CHGNET, PAIR, RelaxSettings, SearchSettings, parse_settings
from aiida_fuse2.protocols import merge, protocol_inputs

from .base import ASE, TierInputs
from .registry import load_tier, tier_names

RANKING = "ranking"
"""Namespace of the inputs of a search."""


def build_ranking(
    name: str,
    potential: orm.SinglefileData | None,
    *,
    relax: Mapping[str, Any],
    protocol: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, orm.Data]:
    """Return the input namespace ``ranking``.

    Args:
        name: tier with this potential: ``chgnet``, ``pair`` or ``ase``.
        potential: library of pair potentials, if the tier takes one.
        relax: ``relax`` of the inputs of the search, whose settings are the defaults.
        protocol: protocol of the search; the default one if None.
        changes: ``settings`` that win over those of the tier.

    Raises:
        InputError: if the tier cannot rank, or changes are wrong.
    """
    known = [tier for tier in tier_names() if tier in {CHGNET, PAIR, ASE}]
    if name not in known:
        raise InputError("--rank-by", name, f"the job that makes a pool has {', '.join(known)}")
    for key, value in (changes or {}).items():
        if key != "settings" or not isinstance(value, Mapping):
            raise InputError(f"{RANKING}.{key}", value, "must be settings, e.g. ranking: {settings: {fmax: 0.2}}")
    tier = load_tier(name)
    defaults = protocol_inputs(protocol, name="tiers")[name]["settings"]
    settings = merge(merge(tier.base_settings(relax["settings"]), defaults), (changes or {}).get("settings", {}))
    relaxing = parse_settings(RelaxSettings, settings, where=f"{RANKING}.settings")
    if _tier_of(relaxing) != name:
        expected = f"must be {name!r}" if name != ASE else "must be the import path of a class"
        raise InputError(f"{RANKING}.settings.calculator", relaxing.calculator, f"{expected} to rank by {name!r}")
    ports: dict[str, orm.Data] = {"settings": orm.Dict(settings)}
    if tier.takes_potential and potential is not None:
        ports["potential"] = potential
    return ports


def check_ranking(ports: Mapping[str, Any], settings: SearchSettings) -> None:
    """Check the inputs ``ranking`` of a search.

    Args:
        ports: settings and, for pair potentials, their library.
        settings: settings of the search.

    Raises:
        InputError: if they are wrong, do not suit the composition, or nothing is ranked.
    """
    relax = parse_settings(RelaxSettings, ports["settings"].get_dict(), where=f"{RANKING}.settings")
    name = _tier_of(relax)
    tier, potential = load_tier(name), ports.get("potential")
    if tier.takes_potential and potential is None:
        expected = f"a pool ranked by {name!r} needs a library: --pair-library; `aiida-fuse2 potential learn` makes one"
        raise InputError(f"{RANKING}.potential", None, expected)
    if potential is not None and not tier.takes_potential:
        raise InputError(f"{RANKING}.potential", potential.filename, f"{name!r} takes no library")
    given = TierInputs(
        name=name,
        settings_node=ports["settings"],
        settings=relax,
        codes={},
        options={},
        potential=potential,
        where=RANKING,
    )
    tier.check(given, settings.unit.elements)
    if settings.pool.ranking == "relaxed":
        check_stress(relax)


def _tier_of(settings: RelaxSettings) -> str:
    return settings.calculator if settings.calculator in {CHGNET, PAIR} else ASE
