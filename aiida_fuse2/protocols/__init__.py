"""Protocols: the only place of default numbers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import yaml

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.moves import PAPER
from aiida_fuse2.core.settings.migration import migrated

MOVE_WEIGHTS = "move_weights"

REPLACED = frozenset(
    {"starts", MOVE_WEIGHTS, "melted_move_weights", "radii", "oxidation_states", "min_distances", "arguments"}
)
"""Settings whose keys are data: an override replaces them as a whole instead of adding to them."""

OPEN = frozenset({"options"})
"""Inputs that accept more keys than those in the protocol."""

MAX_DEPTH = 20
"""Largest number of levels of nested overrides; inputs have five."""

MAX_VALUES = 10_000
"""Largest number of values of overrides, those inside others included."""


@lru_cache(maxsize=4)
def _load(name: str) -> dict[str, Any]:
    text = (files(__package__) / f"{name}.yaml").read_text()
    loaded: dict[str, Any] = yaml.safe_load(text)
    settings = loaded["default_inputs"].get("settings", {})
    if MOVE_WEIGHTS in settings:  # one number for all of the paper
        settings[MOVE_WEIGHTS] = dict.fromkeys(PAPER, settings[MOVE_WEIGHTS])
    return loaded


def protocol_names(name: str = "search") -> dict[str, str]:
    """Return the protocols of a WorkChain with their descriptions."""
    return {key: value["description"] for key, value in _load(name)["protocols"].items()}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment of the paper.

    Attributes:
        name: its name, as in the paper but in lower case.
        overrides: changes to a protocol.
        runs: number of runs.
        tiers: tiers through which structures go.
        rank_by: tier whose potential ranks the pool, or None if there is no pool.
    """

    name: str
    overrides: Mapping[str, Any]
    runs: int
    tiers: tuple[str, ...]
    rank_by: str | None


@cache
def _experiments() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((files(__package__) / "experiments.yaml").read_text())
    return found["experiments"]


def experiment_names() -> list[str]:
    """Return the names of the paper's experiments."""
    return list(_experiments())


def experiment(name: str) -> Experiment:
    """Return an experiment of the paper.

    Raises:
        InputError: if there is no such experiment.
    """
    if name not in _experiments():
        raise InputError("--experiment", name, f"must be one of {', '.join(_experiments())}")
    values = copy.deepcopy(_experiments()[name])
    return Experiment(
        name=name,
        overrides={key: values[key] for key in ("settings", "relax") if key in values},
        runs=int(values["runs"]),
        tiers=tuple(values["tiers"]),
        rank_by=values.get("rank_by"),
    )


@lru_cache(maxsize=1)
def cost_values() -> Mapping[str, Any]:
    """Return the measurements from which the cost of a search is estimated; see ``cost.yaml``."""
    found: Mapping[str, Any] = yaml.safe_load((files(__package__) / "cost.yaml").read_text())
    return found


@lru_cache(maxsize=1)
def pattern_values() -> Mapping[str, Any]:
    """Return the numbers with which powder patterns are compared; see ``patterns.yaml``."""
    found: Mapping[str, Any] = yaml.safe_load((files(__package__) / "patterns.yaml").read_text())
    return found


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with changes: mappings are merged, everything else is replaced."""
    merged = copy.deepcopy(dict(base))
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key not in REPLACED
        merged[key] = merge(merged[key], value) if nested else copy.deepcopy(value)
    return merged


def check_extent(changes: object) -> None:
    """Refuse overrides that are too deep or too many to be inputs, such as those that contain themselves.

    Raises:
        InputError: if they are.
    """
    level: list[object] = [changes]
    seen = 0
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                inner.extend(value.values())
            elif isinstance(value, list | tuple | set | frozenset):
                inner.extend(value)
        seen += len(inner)
        if seen > MAX_VALUES:
            raise InputError("overrides", changes, f"holds more than {MAX_VALUES} values")
        if not inner:
            return
        level = inner
    raise InputError("overrides", changes, f"is nested deeper than {MAX_DEPTH} levels")


def _check_known(changes: Any, known: Mapping[str, Any], where: str = "") -> None:
    """Refuse overrides of inputs that do not exist; they would be ignored."""
    if not isinstance(changes, Mapping):
        raise InputError(where or "overrides", changes, f"must be a mapping of {', '.join(known)}")
    for key, value in changes.items():
        path = f"{where}.{key}" if where else str(key)
        if key not in known:
            raise InputError(path, value, f"there is no such input; known are {', '.join(known)}")
        if key in OPEN and not isinstance(value, Mapping):
            raise InputError(path, value, "must be a mapping, e.g. {queue_name: short}")
        if isinstance(known[key], bool) and not isinstance(value, bool):
            raise InputError(path, value, "must be true or false")
        if isinstance(known[key], Mapping) and key not in REPLACED | OPEN:
            _check_known(value, known[key], path)


def check_overrides(overrides: Mapping[str, Any], *, name: str = "search") -> None:
    """Refuse overrides of inputs that do not exist.

    Args:
        overrides: nested values.
        name: name of the protocol file.

    Raises:
        InputError: for the first override that names no input.
    """
    check_extent(overrides)
    _check_known(overrides, _load(name)["default_inputs"])


def protocol_inputs(
    protocol: str | None = None, overrides: Mapping[str, Any] | None = None, *, name: str = "search"
) -> dict[str, Any]:
    """Return the inputs of a protocol with overrides.

    Args:
        protocol: name of the protocol; the default protocol if None.
        overrides: nested values that take precedence over the protocol.
        name: name of the protocol file.

    Raises:
        InputError: if there is no such protocol, or an override names no input.
    """
    loaded = _load(name)
    chosen = protocol or loaded["default_protocol"]
    if not isinstance(chosen, str) or chosen not in loaded["protocols"]:
        raise InputError("protocol", chosen, f"must be one of {', '.join(loaded['protocols'])}")
    check_overrides({} if overrides is None else overrides, name=name)
    changes = {key: value for key, value in loaded["protocols"][chosen].items() if key != "description"}
    return merge(merge(loaded["default_inputs"], changes), overrides or {})


def completed_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a search made by an earlier version, with defaults for the settings that it did not have.

    Args:
        values: settings as stored in the graph.
    """
    return merge(protocol_inputs()["settings"], migrated(values))


def completed_relax_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a relaxation made by an earlier version, with defaults for the settings that it did not have.

    Args:
        values: settings as stored in the graph.
    """
    return merge(protocol_inputs()["relax"]["settings"], migrated(values))
