"""Tiers by name, and the inputs of a list of tiers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from aiida import orm
from aiida.engine import CalcJob

from aiida_fuse2.core.errors import InputError, one_line
from aiida_fuse2.core.settings import parse_settings

from .base import BatchTier, Tier, TierInputs

PACKAGE = "aiida_fuse2"

GROUP = f"{PACKAGE}.tiers"
"""Group of the entry points."""

PORTS = frozenset({"name", "settings", "codes", "options", "potential", "concurrent"})
"""Inputs of a tier."""

MAX_TIERS = 10
"""Largest number of tiers in a list."""


@cache
def _points() -> dict[str, EntryPoint]:
    """Return the entry points by name; if two have one name, that of this package."""
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=_is_own)}


def _is_own(point: EntryPoint) -> bool:
    return point.module.partition(".")[0] == PACKAGE


def tier_names() -> list[str]:
    """Return the names of the tiers installed ones."""
    return sorted(_points())


def own_tier_names() -> frozenset[str]:
    """Return the names of the tiers of this package; the settings of other tiers are not known here."""
    return frozenset(name for name, point in _points().items() if _is_own(point))


@cache
def _load(name: str) -> type[Tier]:
    loaded: type[Tier] = _points()[name].load()
    return loaded


def find_tier(name: str) -> type[Tier] | None:
    """Return a tier, even if the package of its program is not installed, or None if there is no such tier."""
    try:
        return _load(name)
    except (KeyError, ImportError):
        return None


def load_tier(name: str, *, where: str = "tiers") -> type[Tier]:
    """Return a tier.

    Args:
        name: name of its entry point.
        where: field named in the error.

    Raises:
        InputError: if there is no such tier, or a package that it needs is not installed.
    """
    known = tier_names()
    if name not in known:
        raise InputError(where, name, f"must be one of {', '.join(known)}")
    try:
        tier = _load(name)
    except ImportError as error:
        raise InputError(where, name, f"a package that it needs is not installed ({error})") from error
    if tier.missing is not None:
        raise InputError(where, name, f"a package that it needs is not installed ({tier.missing})")
    return tier


def tier_key(position: int) -> str:
    """Return the key of a tier in the inputs: ``t00``, ``t01``, ..."""
    return f"t{position:02d}"


def read_tiers(ports: Mapping[str, Mapping[str, Any]], *, where: str = "tiers") -> list[TierInputs]:
    """Return the tiers of an input namespace in their order.

    Args:
        ports: ``t00``, ``t01``, ..., each with ``name``, ``settings``, ``codes`` and its other inputs.
        where: field named in errors.

    Raises:
        InputError: if keys are wrong, or an input is missing, wrong, or not an input of its tier.
    """
    expected = [tier_key(position) for position in range(len(ports))]
    if not 1 <= len(ports) <= MAX_TIERS or sorted(ports) != expected:
        raise InputError(where, sorted(ports), f"must be t00, t01, ... without a gap, at most {MAX_TIERS}")
    return [_read_tier(ports[key], f"{where}.{key}") for key in expected]


def _read_tier(ports: Mapping[str, Any], where: str) -> TierInputs:
    unknown = sorted(set(ports) - PORTS)
    if unknown:
        raise InputError(f"{where}.{unknown[0]}", ports[unknown[0]], f"must be one of {', '.join(sorted(PORTS))}")
    name = _node(ports, "name", orm.Str, where).value
    tier = load_tier(name, where=f"{where}.name")
    node = _node(ports, "settings", orm.Dict, where)
    settings = parse_settings(tier.settings_model, node.get_dict(), where=f"{where}.settings")
    codes = ports.get("codes", {})
    wrong = [code for code in codes if code not in tier.codes]
    if wrong:
        raise InputError(f"{where}.codes.{wrong[0]}", str(codes[wrong[0]]), f"{name} has {', '.join(tier.codes)}")
    for code in tier.codes:
        _node(codes, code, orm.AbstractCode, f"{where}.codes")
    potential = _node(ports, "potential", orm.SinglefileData, where) if "potential" in ports else None
    if tier.takes_potential and potential is None:
        expected = f"the tier {name!r} needs a library; `aiida-fuse2 potential learn COMPOSITION` makes one"
        raise InputError(f"{where}.potential", None, expected)
    if potential is not None and not tier.takes_potential:
        raise InputError(f"{where}.potential", potential.filename, f"the tier {name!r} takes no library")
    return TierInputs(
        name=name,
        settings_node=node,
        settings=settings,
        codes=dict(codes),
        options=_node(ports, "options", orm.Dict, where).get_dict() if "options" in ports else {},
        potential=potential,
        concurrent=_concurrent(ports, where),
        where=where,
    )


def _concurrent(ports: Mapping[str, Any], where: str) -> int | None:
    if "concurrent" not in ports:
        return None
    number = int(_node(ports, "concurrent", orm.Int, where).value)
    if number < 1:
        raise InputError(f"{where}.concurrent", number, "must be at least 1")
    return number


def _node(ports: Mapping[str, Any], key: str, kind: type[orm.Data], where: str) -> Any:
    """Return an input if it has the right type."""
    if not isinstance(ports.get(key), kind):
        raise InputError(f"{where}.{key}", ports.get(key), f"must be a node of the kind {kind.__name__}")
    return ports[key]


def check_tiers(tiers: Sequence[TierInputs], elements: Collection[str]) -> None:
    """Check tiers for the elements of all structures.

    Raises:
        InputError: for the first thing that a tier refuses.
    """
    for given in tiers:
        tier = load_tier(given.name, where=f"{given.where}.name")
        _check_options(given, is_known=issubclass(tier, BatchTier))
        tier.check(given, elements)


def _check_options(given: TierInputs, *, is_known: bool) -> None:
    """Refuse options that no job has, or of the wrong type.

    Args:
        given: inputs of the tier.
        is_known: whether its jobs have only the options of AiiDA.

    Raises:
        InputError: for the first one.
    """
    ports = CalcJob.spec().inputs["metadata"]["options"]
    options = {name: value for name, value in given.options.items() if is_known or name in ports}
    problem = ports.validate(options)
    if problem is not None:
        raise InputError(f"{given.where}.{problem.port}", options, problem.message)
    computer = next(iter(given.codes.values())).computer
    if computer is None or "resources" not in options:
        return
    scheduler, resources = computer.get_scheduler(), dict(options["resources"])
    try:
        scheduler.preprocess_resources(resources, computer.get_default_mpiprocs_per_machine())
        scheduler.validate_resources(**resources)
    except (TypeError, ValueError) as error:
        raise InputError(f"{given.where}.options.resources", options["resources"], one_line(error)) from error


def energy_identity(name: str, settings: Mapping[str, Any], potential: orm.SinglefileData | None) -> dict[str, Any]:
    """Return the values that the energies of a tier depend on; energies are comparable only if these are equal.

    Args:
        name: name of the tier.
        settings: settings of the tier.
        potential: library of pair potentials, or None.
    """
    tier = load_tier(name)
    identity = tier.identity(settings)
    if "calculator" not in identity:  # its value distinguishes the tiers of `fuse2.relax`
        identity = {"tier": name, **identity}
    return identity if potential is None else {**identity, "potential": potential.uuid}
