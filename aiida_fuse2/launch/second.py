"""The potential that orders the answers of searches and finishes that are there already."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.environment.codes import load_code
from aiida_fuse2.environment.models import find_installed
from aiida_fuse2.environment.trust import options_part, own_code
from aiida_fuse2.parsers.memory import WORKER, has_run
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.protocols.models import find_model
from aiida_fuse2.query.links import SECOND_LINK
from aiida_fuse2.query.relaxation import program_of
from aiida_fuse2.workchains.second import OPTION, Ports, second_text


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
