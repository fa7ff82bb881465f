"""Inputs of finishing searches: their best structures, and the potential that gave their energies."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.common.exceptions import AiidaException
from aiida.engine import ProcessBuilder

from aiida_fuse2 import query
from aiida_fuse2.core.answer.candidates import LOOKED_AT
from aiida_fuse2.core.answer.settings import AnswerSettings
from aiida_fuse2.core.errors import InputError, RefusedInputsError
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.environment.codes import load_code
from aiida_fuse2.environment.models import Installed, check_elements, tier_of_model
from aiida_fuse2.environment.prototypes import packaged_library_node
from aiida_fuse2.environment.trust import UntrustedError, foreign_parts, options_part, own_code
from aiida_fuse2.parsers.memory import WORKER, has_run
from aiida_fuse2.protocols import merge, protocol_inputs
from aiida_fuse2.query.ranking import to_finish
from aiida_fuse2.query.tiers import tier_ports
from aiida_fuse2.workchains.answering import targets_to_relax
from aiida_fuse2.workchains.finish import LIBRARY, Fuse2FinishWorkChain, can_relax
from aiida_fuse2.workchains.second import Ports, choose_second

from .inputs import best_rows, check_inputs
from .second import second_ports


def prepare_finish(
    searches: Sequence[orm.WorkChainNode],
    *,
    code: orm.AbstractCode | None = None,
    model: Installed | None = None,
    best: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    trust: bool = False,
    second: str | None = None,
) -> ProcessBuilder:
    """Return the inputs of finishing searches, checked.

    Args:
        searches: searches, several runs of one, or refinements, for one composition and with one potential.
        code: code of the worker; by default that of the searches, if it has run in this profile.
        model: potential by name that computes the energies of the answer; by default that of the searches.
        best: number of unique structures, lowest energy first; by default that of the protocol.
        overrides: changes of ``protocols/finish.yaml``.
        trust: whether to run what the searches name that has never run in this profile.
        second: potential that orders the phases, by name, or ``none``; by default that of the searches or, if they
            have none, of the protocol, see ``choose_second``.

    Raises:
        UntrustedError: if there are such parts and ``trust`` is not given.
        InputError: for the first wrong input.
        RefusedInputsError: if AiiDA refuses an input.
        SetupError: if there is no code of the worker, or of the second potential.
    """
    if overrides is not None and not isinstance(overrides, Mapping):
        raise InputError("overrides", overrides, "must be a mapping, e.g. {'settings': {'energy': 0.005}}")
    inputs = protocol_inputs(None, overrides, name="finish")
    number = inputs["best"] if best is None else best
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InputError("--best", number, "must be a whole number, at least 1")
    if isinstance(inputs["window"], bool) or not isinstance(inputs["window"], int | float) or inputs["window"] < 0:
        raise InputError("window", inputs["window"], "must be an energy, eV/atom")
    settings = parse_settings(AnswerSettings, inputs["settings"])
    single = [search for node in searches for search in query.single_searches(node)]
    tier = last_ports(single[0])
    if model is not None or can_relax(tier["name"].value):
        tier = worker_tier(single[0], code, inputs["options"], model)
        _require_trust(single, trust=trust)
    found = best_rows(single, LOOKED_AT * number)
    rows = to_finish([row for row in found if row["delta"] <= inputs["window"]] or found[:1], number, settings)
    elements = orm.load_node(rows[0]["uuid"]).get_symbols_set()
    if model is not None:
        check_elements(model.model, elements)
    ports = _second_of(single[0], tier, elements, inputs, second)
    try:
        builder = Fuse2FinishWorkChain.get_builder_from_protocol(
            rows,
            tier,
            inputs["settings"],
            [search.uuid for search in single],
            library_of_search(single[0]),
            second=next(iter(ports.values()), None),
            targets=targets_to_relax(single[0].inputs),
        )
    except InputError:
        raise
    except (ValueError, TypeError, AiidaException) as error:  # an input that does not exist, or is of the wrong type
        raise RefusedInputsError(f"AiiDA refuses an input: {error}") from error
    check_inputs(builder)
    return builder


def _second_of(
    search: orm.WorkChainNode,
    tier: Mapping[str, Any],
    elements: Collection[str],
    inputs: Mapping[str, Any],
    name: str | None,
) -> Ports:
    """Return the second potential of a search; see ``prepare_finish``."""
    known = second_ports(search) if name is None else None
    return known or choose_second(name, tier, elements, inputs).ports


def _require_trust(searches: Sequence[orm.WorkChainNode], *, trust: bool) -> None:
    """Refuse searches that name what has never run in this profile.

    Raises:
        UntrustedError: unless ``trust`` is given.
    """
    for search in searches:
        foreign = foreign_parts(search)
        if foreign and not trust:
            raise UntrustedError(search.pk, foreign)


def last_ports(search: orm.WorkChainNode) -> dict[str, Any]:
    """Return the inputs of the tier that gives the energies of a search or a refinement."""
    known = tier_ports(search)
    return known[max(known)]


def worker_tier(
    search: orm.WorkChainNode,
    code: orm.AbstractCode | None,
    options: Mapping[str, Any],
    model: Installed | None = None,
) -> dict[str, Any]:
    """Return the tier that gives the energies of a search or a refinement, with a code and options of this profile.

    Args:
        search: the search.
        code: code of the worker; by default that of the search, if it has run in this profile.
        options: changes to the options of its jobs.
        model: potential by name instead of that of the search; its pressure stays.

    Raises:
        InputError: if the worker does not compute these energies.
        SetupError: if there is no code of the worker.
    """
    last = last_ports(search)
    ports = last if model is None else _tier_of_model(model, last)
    name = ports["name"].value
    if not can_relax(name):
        raise InputError("tiers", name, "gives the energies; this needs a potential of the worker (chgnet, pair, ase)")
    own = ports["options"].get_dict() if "options" in ports else {}
    if not has_run(options_part(own)):
        own = protocol_inputs()["relax"]["metadata"]["options"]
    worker = code or own_code(ports["codes"].get(WORKER), WORKER) or load_code()
    return {**ports, "codes": {WORKER: worker}, "options": orm.Dict(merge(own, options))}


def _tier_of_model(model: Installed, last: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tier of a potential by name, with the pressure of the last tier of a search.

    Where the worker computes that tier, its other settings stay, too.
    """
    known = last["settings"].get_dict()
    is_of_worker = can_relax(last["name"].value)
    base = known if is_of_worker else {**protocol_inputs()["relax"]["settings"], "pressure": known.get("pressure", 0.0)}
    kept = {key: last[key] for key in ("options",) if is_of_worker and key in last}
    settings = orm.Dict({**base, **model.settings})
    return {**kept, "name": orm.Str(tier_of_model(model.model)), "settings": settings, "codes": {WORKER: model.code}}


def library_of_search(search: orm.WorkChainNode) -> orm.SinglefileData | None:
    """Return the library that names structure types: that of the search or refinement, or the packaged one."""
    return search.inputs[LIBRARY] if LIBRARY in search.inputs else packaged_library_node()
