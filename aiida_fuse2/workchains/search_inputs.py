"""Inputs of a search, and the checks of them before anything is submitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from aiida import orm
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_fuse2.calculations.base import validator
from aiida_fuse2.calculations.generate import (
    GenerateCalculation,
    check_prototypes,
    check_weights,
    needs_tier,
    validate_search_settings,
)
from aiida_fuse2.core.errors import InputError, shown_value
from aiida_fuse2.core.generators import get_generator
from aiida_fuse2.core.search.policy import FIXED
from aiida_fuse2.core.search.starts import pool_generators
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, parse_settings
from aiida_fuse2.protocols import completed_settings
from aiida_fuse2.query.chain import search_of_state
from aiida_fuse2.query.links import CONTINUED_LINK, SECOND_LINK, TARGETS_LINK
from aiida_fuse2.query.ranking import energy_difference
from aiida_fuse2.query.target_checks import TARGETS_HELP, check_targets
from aiida_fuse2.tiers import RANKING, check_ranking, check_tiers, read_tiers

from .relax import TIERS_HELP, define_second, validate_tiers


def define_inputs(spec: WorkChainSpec) -> None:
    """Define the inputs of a search."""
    spec.input(
        "settings",
        valid_type=orm.Dict,
        validator=validate_search_settings,
        help="Settings of the search: composition, seed, limits, moves, ... (see `SearchSettings`).",
    )
    spec.input(
        "pool",
        valid_type=orm.SinglefileData,
        required=False,
        help="Structures to start from, as extended XYZ, best first.",
    )
    spec.input(
        "state",
        valid_type=orm.Dict,
        required=False,
        help="A state of an earlier search, from which this one continues. With the same settings it is then equal "
        "to the earlier one, had that continued. Structures of `pool` come before those left in the earlier pool.",
    )
    spec.input(
        "policy",
        valid_type=orm.Dict,
        required=False,
        help="A state of another search with `settings.policy: bandit`: what that has learned is, with less weight, "
        "where this search begins.",
    )
    spec.input(
        CONTINUED_LINK,
        valid_type=orm.Str,
        serializer=orm.to_aiida_type,
        required=False,
        validator=_validate_continued,
        help="UUID of the continued search: this search takes its pool. By default the search that made `state`; "
        "they differ if a search ended before it had made a state of its own.",
    )
    spec.input(
        "prototypes",
        valid_type=orm.SinglefileData,
        required=False,
        help="Library of prototypes, as extended XYZ: starts of the generator `prototypes`, and names of structures.",
    )
    spec.input_namespace(TARGETS_LINK, dynamic=True, required=False, valid_type=orm.StructureData, help=TARGETS_HELP)
    spec.input(
        "clean_workdir",
        valid_type=orm.Bool,
        serializer=orm.to_aiida_type,
        help="Whether to remove the folders of finished jobs from their computer at the end.",
    )
    spec.input_namespace("tiers", dynamic=True, valid_type=orm.Data, validator=validate_tiers, help=TIERS_HELP)
    define_second(spec)
    spec.input_namespace(
        RANKING,
        required=False,
        populate_defaults=False,
        help="The potential that ranks pools, if it is not that of the last tier that the worker computes alone.",
    )
    spec.input(f"{RANKING}.settings", valid_type=orm.Dict, help="Its settings (see `RelaxSettings`).")
    spec.input(
        f"{RANKING}.potential",
        valid_type=orm.SinglefileData,
        required=False,
        help="Its library of pair potentials, if its calculator is `pair`.",
    )
    spec.input(
        "experiment",
        valid_type=orm.Str,
        serializer=orm.to_aiida_type,
        required=False,
        help="Name of the paper's experiment that the search was set up as, for comparisons; it changes nothing.",
    )
    _define_generation(spec)
    spec.inputs.validator = _validate_inputs


def _define_generation(spec: WorkChainSpec) -> None:
    """Define the inputs of the job that fills the pool."""
    spec.expose_inputs(
        GenerateCalculation,
        namespace="generate",
        exclude=("settings", "pool_number", "generators", "software", "tier", "potential", "checkpoint", "prototypes"),
        namespace_options={
            "required": False,
            "populate_defaults": False,
            "help": "The job that fills the pool; needed by generators that run in a job.",
        },
    )


@validator
def _validate_inputs(inputs: Mapping[str, Any]) -> None:
    """Check the inputs together."""
    if "settings" not in inputs:
        return  # reported as a missing input
    if not inputs.get("tiers"):
        raise InputError("tiers", {}, "must have at least one tier, `t00`")
    settings = parse_settings(SearchSettings, inputs["settings"].get_dict())
    for name in settings.starts:
        if not get_generator(name).makes_structures and "pool" not in inputs and "state" not in inputs:
            raise InputError("pool", None, f"the generator {name!r} needs structures, e.g. --structures FILE")
    in_job = pool_generators(settings)
    if in_job and "code" not in inputs.get("generate", {}):
        raise InputError("generate.code", None, f"the generator {in_job[0]!r} runs in a job: give a code")
    check_prototypes(settings, inputs.get("prototypes"))
    if in_job:
        check_weights(settings, inputs["generate"].get("weights"))
        if settings.pool.ranking != "none" and not ranking_inputs(inputs):
            expected = "none of the tiers can rank a pool alone: name a potential with --rank-by, e.g. pair or chgnet"
            raise InputError("settings.pool.ranking", settings.pool.ranking, expected)
    if inputs.get(RANKING):
        if not in_job or not needs_tier(settings):
            expected = "no pool is ranked: --ranking says how, for generators that fill a pool in a job"
            raise InputError(RANKING, "given", expected)
        check_ranking(inputs[RANKING], settings)
    second = read_tiers(inputs[SECOND_LINK], where=SECOND_LINK) if inputs.get(SECOND_LINK) else []
    check_tiers([*read_tiers(inputs["tiers"]), *second], settings.unit.elements)
    check_targets(settings, inputs.get(TARGETS_LINK) or {})
    if "policy" in inputs:
        _check_policy(settings, inputs["policy"], inputs)
    if "state" in inputs:
        _check_state(settings, inputs["state"], inputs)


def _validate_continued(node: orm.Str | None, _: object) -> str | None:
    """Return the problem of the continued search, or None."""
    if node is None:
        return None
    if _is_uuid(node.value):  # PostgreSQL does not compare UUIDs with other text
        filters = {"uuid": node.value, "attributes.process_label": "Fuse2WorkChain"}
        if orm.QueryBuilder().append(orm.WorkChainNode, filters=filters).count() > 0:
            return None
    return f"must be the UUID of a search of this profile, not {shown_value(node.value)}"


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _check_policy(settings: SearchSettings, policy: orm.Dict, inputs: Mapping[str, Any]) -> None:
    """Refuse a policy that would have no effect, and a node that is none."""
    learned = policy.get_dict().get("learned")
    if not isinstance(learned, Mapping) or not learned.get("arms"):
        expected = "must be the state of a search with settings.policy: bandit; see its output 'state'"
    elif settings.policy == FIXED:
        expected = "has no effect with settings.policy: fixed"
    elif "state" in inputs:
        expected = "has no effect on a search that continues: its state has a policy"
    else:
        return
    raise InputError("policy", policy.pk, expected)


def _check_state(settings: SearchSettings, state: orm.Dict, inputs: Mapping[str, Any]) -> None:
    """Refuse to continue from a node that is no state of a search, or from one with other energies."""
    earlier = search_of_state(state.uuid) if state.is_stored else None
    if earlier is None:
        raise InputError("state", state.pk, "must be a state that a search has made; see its output 'state'")
    formula = parse_settings(SearchSettings, completed_settings(earlier.inputs.settings.get_dict())).unit.formula
    if formula != settings.unit.formula:
        raise InputError("composition", settings.unit.formula, f"the state belongs to a search for {formula}")
    changed = energy_difference(earlier.inputs, inputs)
    if changed is not None:
        name, before, now = changed
        expected = (
            f"energies of the state were computed with {before!r} and cannot be compared; "
            "start a new search from its structures instead"
        )
        raise InputError(f"tiers.{name}", now, expected)


def ranking_inputs(inputs: Mapping[str, Any]) -> dict[str, orm.Data]:
    """Return the potential that ranks pools, as inputs of the job that makes them.

    Args:
        inputs: inputs of the search.

    Returns:
        ``tier`` and, for pair potentials, ``potential``: those of ``ranking``, or else of the last tier that the worker
        computes without a library. Empty if there is none.
    """
    own = inputs.get(RANKING)
    if own:
        library = own.get("potential")
        return {"tier": own["settings"], **({} if library is None else {"potential": library})}
    tiers = [given for given in read_tiers(inputs["tiers"]) if isinstance(given.settings, RelaxSettings)]
    able = [given.settings_node for given in tiers if given.potential is None]
    return {"tier": able[-1]} if able else {}
