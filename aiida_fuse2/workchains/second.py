"""The potential that orders the answers of searches, beside that of the search."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from aiida.engine import ProcessBuilder

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import CHGNET, SearchSettings
from aiida_fuse2.environment.models import Installed, check_elements, find_installed, tier_of_model
from aiida_fuse2.environment.profile import SetupError
from aiida_fuse2.parsers.memory import WORKER
from aiida_fuse2.protocols import merge, protocol_inputs
from aiida_fuse2.protocols.models import find_model
from aiida_fuse2.query.links import SECOND_LINK
from aiida_fuse2.query.relaxation import program_of
from aiida_fuse2.tiers import TierChoice, build_tiers, energy_identity, load_tier, tier_key
from aiida_fuse2.tiers.worker import RelaxTier

OPTION = "--second"

NONE = "none"
"""Name instead of that of a potential if the potential of the search orders its answer."""

Ports = dict[str, dict[str, Any]]
"""Namespace ``second`` of the inputs of a search or of a finish; empty without a second potential."""


@dataclass(frozen=True, kw_only=True)
class Second:
    """The second potential of an answer.

    Attributes:
        ports: its inputs.
        text: which potential orders the answer and why, for people; empty if there is nothing to choose.
    """

    ports: Ports
    text: str = ""


def add_second(builder: ProcessBuilder, settings: SearchSettings, name: str | None) -> str:
    """Add the potential that orders the answer of a search, if there is one.

    Args:
        builder: inputs of the search.
        settings: its settings; a search without an answer has no second potential unless one is named.
        name: see ``choose_second``.

    Returns:
        Which potential orders the answer, for people; empty if there is nothing to choose.

    Raises:
        InputError: see ``choose_second``.
        SetupError: see ``choose_second``.
    """
    if not settings.finish and name is None:
        return ""
    second = choose_second(name, builder.tiers[max(builder.tiers)], settings.unit.elements)
    if second.ports:
        builder[SECOND_LINK] = second.ports
    return second.text


def choose_second(
    name: str | None,
    tier: Mapping[str, Any],
    elements: Collection[str],
    values: Mapping[str, Any] | None = None,
) -> Second:
    """Return the second potential of searches, checked.

    Args:
        name: name of a potential, or ``none``; by default that of the protocol where its code is installed, after
            searches with CHGNet.
        tier: inputs of the tier that gives the energies of the searches.
        elements: elements of their composition.
        values: inputs of ``protocols/finish.yaml``.

    Raises:
        InputError: if the named one cannot be used: there is none, it does not know an element, or it is that of the
            searches.
        SetupError: if the named one is not installed.
    """
    inputs = values or protocol_inputs(None, name="finish")
    first = tier["settings"].get_dict()
    if not issubclass(load_tier(tier["name"].value), RelaxTier):
        if name not in {None, NONE}:
            raise InputError(OPTION, name, f"answers of {tier['name'].value} are ordered by its own energies")
        return Second(ports={})
    own = program_of(tier["name"].value, first)
    if name == NONE:
        return Second(ports={}, text=f"Answer: ordered by {own}")
    if name is not None:
        try:
            model = find_model(name)
            return _second(find_installed(model, name), tier, elements, inputs)
        except InputError as error:
            raise InputError(OPTION, name, error.expected) from error
    if first["calculator"] != CHGNET:
        return Second(ports={})
    try:
        return _second(default_second(inputs["second"]["name"]), tier, elements, inputs)
    except SetupError as error:
        reason = str(error)
    except InputError as error:
        reason = f"{error.value} {error.expected}"
    return Second(ports={}, text=f"Answer: ordered by {own}; {reason}")


def default_second(name: str) -> Installed:
    """Return the second potential that nobody has named.

    Raises:
        SetupError: if it is not installed.
    """
    return find_installed(find_model(name), name)


def _second(found: Installed, tier: Mapping[str, Any], elements: Collection[str], inputs: Mapping[str, Any]) -> Second:
    """Return a second potential that is installed.

    Raises:
        InputError: if it cannot be used.
    """
    check_elements(found.model, elements)
    base = {"settings": tier["settings"].get_dict(), "metadata": {"options": _options(found, tier)}}
    name = tier_of_model(found.model)
    tiers = build_tiers(
        TierChoice(names=[name], codes={name: found.code}),
        worker=None,
        relax=base,
        overrides={name: {"settings": merge(inputs["second"]["settings"], found.settings)}},
        elements=elements,
    )
    if _identity(tiers[tier_key(0)]) == _identity(tier):
        raise InputError(OPTION, found.model.name, "is the potential of the search itself")
    return Second(ports=tiers, text=second_text(tiers))


def _options(found: Installed, tier: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of jobs with a second potential: those of the search on its computer, else the default."""
    is_there = tier["codes"][WORKER].computer == found.code.computer
    if is_there and "options" in tier:
        return dict(tier["options"].get_dict())
    return dict(protocol_inputs()["relax"]["metadata"]["options"])


def _identity(ports: Mapping[str, Any]) -> dict[str, Any]:
    return energy_identity(ports["name"].value, ports["settings"].get_dict(), ports.get("potential"))


def second_text(ports: Ports) -> str:
    """Return which potential orders an answer, for people; nothing if there is no second one."""
    if not ports:
        return ""
    (given,) = ports.values()
    name = program_of(given["name"].value, given["settings"].get_dict())
    return f"Answer: ordered by {name} ({given['codes'][WORKER].full_label})"
