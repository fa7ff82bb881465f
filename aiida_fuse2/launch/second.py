"""The potential that orders the answers of searches, beside that of the search."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import CHGNET
from aiida_fuse2.environment.codes import load_code
from aiida_fuse2.environment.models import Installed, find_installed
from aiida_fuse2.environment.profile import SetupError
from aiida_fuse2.environment.trust import options_part, own_code
from aiida_fuse2.parsers.memory import WORKER, has_run
from aiida_fuse2.protocols import merge, protocol_inputs
from aiida_fuse2.protocols.models import find_model
from aiida_fuse2.query.links import SECOND_LINK
from aiida_fuse2.query.relaxation import program_of
from aiida_fuse2.tiers import TierChoice, build_tiers, energy_identity, load_tier, tier_key
from aiida_fuse2.tiers.worker import RelaxTier

from .presets import check_elements, tier_of_model

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
        model = find_model(inputs["second"]["name"])
        return _second(find_installed(model, model.name), tier, elements, inputs)
    except SetupError as error:
        reason = str(error)
    except InputError as error:
        reason = f"{error.value} {error.expected}"
    return Second(ports={}, text=f"Answer: ordered by {own}; {reason}")


def _second(found: Installed, tier: Mapping[str, Any], elements: Collection[str], inputs: Mapping[str, Any]) -> Second:
    """Return a second potential that is installed.

    Raises:
        InputError: if it cannot be used.
    """
    check_elements(found.model, elements)
    options = tier["options"].get_dict() if "options" in tier else {}
    base = {"settings": tier["settings"].get_dict(), "metadata": {"options": options}}
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


def _identity(ports: Mapping[str, Any]) -> dict[str, Any]:
    return energy_identity(ports["name"].value, ports["settings"].get_dict(), ports.get("potential"))


def second_text(ports: Ports) -> str:
    """Return which potential orders an answer, for people; nothing if there is no second one."""
    if not ports:
        return ""
    (given,) = ports.values()
    name = program_of(given["name"].value, given["settings"].get_dict())
    return f"Answer: ordered by {name} ({given['codes'][WORKER].full_label})"


def order_text(builder: ProcessBuilder) -> str:
    """Return which potential will order the answer of a finish, for people."""
    (tier,) = builder.tiers.values()
    own = program_of(tier["name"].value, tier["settings"].get_dict())
    return second_text(dict(builder.get(SECOND_LINK) or {})) or f"Answer: ordered by {own}; another one with {OPTION}"


def second_ports(search: orm.WorkChainNode) -> Ports | None:
    """Return the second potential of a search with a code and options of this profile; None if it is too old to say.

    Args:
        search: a search, or a finish.

    Raises:
        SetupError: if this profile has no code for it.
    """
    if SECOND_LINK not in search.inputs:
        return None
    known = {key: dict(search.inputs[SECOND_LINK][key]) for key in search.inputs[SECOND_LINK]}
    for ports in known.values():
        code = own_code(ports["codes"].get(WORKER), WORKER)
        if code is None:
            code = _code_of(ports["settings"].get_dict())
        ports["codes"] = {WORKER: code}
        if "options" in ports and not has_run(options_part(ports["options"].get_dict())):
            ports["options"] = orm.Dict(protocol_inputs()["relax"]["metadata"]["options"])
    return known


def _code_of(settings: Mapping[str, Any]) -> orm.AbstractCode:
    """Return the code of a potential in this profile; that of the worker for one that no name stands for here."""
    if settings.get("weights") is not None:
        with suppress(InputError):
            model = find_model(settings["model"])
            return find_installed(model, model.name).code
    return load_code()
