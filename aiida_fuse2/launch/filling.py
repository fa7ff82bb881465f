"""Short searches for the phases that compete with those of a user, in the same potential."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.prototypes.competing import Competing, Key, KnownCompound, competing, key_of
from aiida_fuse2.core.search.checks import check_search
from aiida_fuse2.core.search.starts import pool_generators
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.environment.codes import load_code
from aiida_fuse2.environment.trust import UntrustedError, foreign_parts
from aiida_fuse2.io.prototypes import compounds_of
from aiida_fuse2.parsers.memory import WORKER
from aiida_fuse2.protocols import merge, protocol_inputs
from aiida_fuse2.query.competing import searches_within
from aiida_fuse2.tiers import tier_key
from aiida_fuse2.workchains.search import Fuse2WorkChain
from aiida_fuse2.workchains.search_builder import with_text_keys, without_prototypes

from .cores import fitting_runs, share_cores
from .cost import Cost, estimate, total
from .finishing import library_of_search, worker_tier
from .inputs import Prepared, check_inputs
from .libraries import all_libraries
from .second import second_ports


@dataclass(frozen=True, kw_only=True)
class Filling:
    """The phases that compete in a chemical system.

    Attributes:
        system: its elements.
        known: searches of this potential that are there already.
        wanted: compositions that none of them has.
        prepared: a short search of each.
        left_out: formulas of compounds that are not to be searched: too many, or in too large cells.
        concurrent: number of searches at a time.
    """

    system: tuple[str, ...]
    known: tuple[orm.WorkChainNode, ...]
    wanted: tuple[Competing, ...]
    prepared: tuple[Prepared, ...]
    left_out: tuple[str, ...]
    concurrent: int

    @property
    def cost(self) -> Cost | None:
        """The likely cost of all searches, None if there are none."""
        return total([estimate(one) for one in self.prepared]) if self.prepared else None


def prepare_filling(
    first: orm.WorkChainNode,
    units: Sequence[FormulaUnit],
    *,
    code: orm.AbstractCode | None = None,
    overrides: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Filling:
    """Return which phases compete with some compositions, which are there, and a search of each of the others.

    Args:
        first: search or refinement whose potential, pressure and library are used.
        units: compositions of the user, all with this potential.
        code: code of the worker; by default that of the search, if it has run in this profile.
        overrides: changes of ``protocols/fill.yaml``; its ``settings`` can change any setting of the searches.
        trust: whether to run what the search names that has never run in this profile.

    Raises:
        UntrustedError: if there are such parts and ``trust`` is not given.
        InputError: for the first wrong input, or if the worker does not compute this potential.
        RefusedInputsError: if AiiDA refuses an input.
        SetupError: if there is no code of the worker.
    """
    changes = dict(overrides or {})
    of_searches = changes.pop("settings", {})  # any setting, not only those that the protocol changes
    values = protocol_inputs(None, changes, name="fill")
    values["settings"] = merge(values["settings"], of_searches) if isinstance(of_searches, Mapping) else of_searches
    system = tuple(dict.fromkeys(element for unit in units for element in unit.elements))
    known = searches_within(system, first.inputs)
    library = library_of_search(first)
    wanted, left_out = competing(
        system,
        _compounds(library, system),
        without={key_of(unit) for unit in [*units, *(unit for _, unit in known)]},
        limit=values["compounds"],
        max_atoms=values["max_atoms"],
    )
    prepared: list[Prepared] = []
    if wanted:
        foreign = foreign_parts(first)
        if foreign and not trust:
            raise UntrustedError(first.pk, foreign)
        tier, second = worker_tier(first, code, {}), second_ports(first)
        if second and "finish" not in of_searches:
            values["settings"]["finish"] = values["second_best"]
        prepared = [Prepared(builder=_builder(one, tier, library, values, system)) for one in wanted]
        for one in prepared if second else ():
            one.builder.second = second
    concurrent = fitting_runs(prepared[0].builder, len(prepared)) if prepared else 0
    for one in prepared:
        share_cores(one.builder, concurrent)
        check_inputs(one.builder)
    return Filling(
        system=system,
        known=tuple(node for node, _ in known),
        wanted=tuple(wanted),
        prepared=tuple(prepared),
        left_out=tuple(left_out),
        concurrent=concurrent,
    )


def _compounds(library: orm.SinglefileData | None, system: Sequence[str]) -> dict[str, list[KnownCompound]]:
    """Return the compounds of the libraries of this profile and of the search, by the name of the library."""
    nodes = [*([] if library is None else [library]), *(one.node for one in all_libraries())]
    found: dict[str, dict[Key, KnownCompound]] = {}
    for node in {node.uuid: node for node in nodes}.values():
        own = found.setdefault(node.label or "a library", {})
        for one in compounds_of(node.get_content(), system):
            known = own.setdefault(key_of(one.unit), one)
            own[key_of(one.unit)] = min(known, one, key=lambda compound: compound.n_atoms)
    return {name: list(own.values()) for name, own in found.items()}


def _builder(
    one: Competing,
    tier: Mapping[str, Any],
    library: orm.SinglefileData | None,
    values: Mapping[str, Any],
    system: Sequence[str],
) -> ProcessBuilder:
    """Return the inputs of the search of a competing composition.

    Args:
        one: the composition.
        tier: inputs of its only tier.
        library: library of prototypes.
        values: inputs of ``protocols/fill.yaml``.
        system: elements of the chemical system, which are named in the label.
    """
    inputs = protocol_inputs(values["protocol"], {"settings": values["settings"]})
    own = inputs["settings"]
    if "max_atoms" not in values["settings"]:
        own["max_atoms"] = max(own["max_atoms"], one.n_atoms, one.unit.n_atoms)
    if library is None:
        own["starts"] = without_prototypes(own["starts"])
    settings = parse_settings(SearchSettings, {"composition": one.unit.formula, **own})
    check_search(settings)
    builder: ProcessBuilder = Fuse2WorkChain.get_builder()
    changed = {"composition": one.unit.formula, "starts": settings.starts}
    builder.settings = orm.Dict(with_text_keys(merge(own, changed)))
    builder.clean_workdir = orm.Bool(inputs["clean_workdir"])
    builder.tiers = {tier_key(0): dict(tier)}
    if library is not None:
        builder.prototypes = library
    if pool_generators(settings):
        builder.generate.code = tier["codes"].get(WORKER) or load_code()
        builder.generate.metadata.options = inputs["generate"]["metadata"]["options"]
    builder.metadata.label = f"competing phase of {'-'.join(system)}"
    builder.metadata.description = f"{one.unit.formula}: {one.reason}"
    return builder
