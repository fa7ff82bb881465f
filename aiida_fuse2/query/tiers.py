"""The tiers of a search, also of earlier versions, which had an input `relax` if there was only one tier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm

from aiida_fuse2.core.settings import CHGNET, PAIR, RelaxSettings
from aiida_fuse2.parsers.memory import WORKER
from aiida_fuse2.protocols import completed_relax_settings, protocol_inputs
from aiida_fuse2.tiers import RANKING, load_tier, tier_key
from aiida_fuse2.tiers.base import ASE

from .links import SECOND_LINK

UsedTier = tuple[str, dict[str, Any], orm.SinglefileData | None]
"""Name, settings and library of pair potentials, if it has one, of a tier."""

OLD_NAMESPACE = "relax"
"""Inputs of the only tier of a search of an earlier version."""


def tiers_of_search(inputs: Mapping[str, Any]) -> list[UsedTier]:
    """Return the tiers of a search in their order.

    Args:
        inputs: inputs of the search.
    """
    return [
        (ports["name"].value, ports["settings"].get_dict(), ports.get("potential"))
        for _, ports in sorted(_ports(inputs).items())
    ]


def ranking_of_search(inputs: Mapping[str, Any]) -> list[UsedTier]:
    """Return the potential that ranks the pools of a search as a tier, if it is named apart from the tiers.

    Args:
        inputs: inputs of the search.
    """
    if RANKING not in inputs or not inputs[RANKING]:
        return []
    ports = inputs[RANKING]
    settings = ports["settings"].get_dict()
    name = settings["calculator"] if settings["calculator"] in {CHGNET, PAIR} else ASE
    return [(name, settings, ports.get("potential"))]


def second_of_search(inputs: Mapping[str, Any]) -> UsedTier | None:
    """Return the second potential of a search or of a finish as a tier, if it has one.

    Args:
        inputs: inputs of the search or of the finish.
    """
    if SECOND_LINK not in inputs:
        return None
    ports = next((inputs[SECOND_LINK][key] for key in inputs[SECOND_LINK]), None)
    return None if ports is None else (ports["name"].value, ports["settings"].get_dict(), ports.get("potential"))


def last_tier(inputs: Mapping[str, Any]) -> UsedTier:
    """Return the tier that gives the energies of a search.

    Args:
        inputs: inputs of the search.
    """
    return tiers_of_search(inputs)[-1]


def tier_ports(search: orm.WorkChainNode) -> dict[str, dict[str, Any]]:
    """Return the input namespace ``tiers`` of a search, as the current version has it.

    Nodes stay the same if nothing in them has changed.

    Args:
        search: search of any version.
    """
    found = _ports(search.inputs)
    if "tiers" not in search.inputs:
        options = options_of(search, OLD_NAMESPACE)
        found[tier_key(0)]["options"] = orm.Dict(options)
    for ports in found.values():
        settings = _completed(ports["name"].value, ports["settings"].get_dict())
        if settings != ports["settings"].get_dict():
            ports["settings"] = orm.Dict(settings)
    return found


def _completed(name: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a tier, with defaults for those that it did not have when they were stored."""
    model = load_tier(name).settings_model
    if issubclass(model, RelaxSettings):
        return completed_relax_settings(stored)
    defaults = protocol_inputs(name="tiers").get(name, {}).get("settings", {})
    return {**{key: value for key, value in defaults.items() if key in model.model_fields}, **stored}


def options_of(search: orm.WorkChainNode, name: str) -> dict[str, Any]:
    """Return the options of a kind of jobs, ``relax`` or ``generate``, as they are stored."""
    found: dict[str, Any] = (search.get_metadata_inputs() or {}).get(name, {}).get("metadata", {}).get("options", {})
    return found


def _ports(inputs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    if "tiers" in inputs:
        return {key: dict(inputs["tiers"][key]) for key in inputs["tiers"]}
    relax = inputs[OLD_NAMESPACE]
    calculator = relax["settings"]["calculator"]
    name = calculator if calculator in {CHGNET, PAIR} else ASE
    ports = {"name": orm.Str(name), "settings": relax["settings"], "codes": {WORKER: relax["code"]}}
    return {tier_key(0): ports | ({"potential": relax["potential"]} if "potential" in relax else {})}
