"""A potential by name as inputs of searches, refinements, pools and finishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiida import orm

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import CHGNET
from aiida_fuse2.environment.codes import CODE_LABEL, load_code
from aiida_fuse2.environment.models import Installed, check_elements, find_installed, tier_of_model
from aiida_fuse2.protocols import merge
from aiida_fuse2.protocols.models import DEFAULT_CODE, find_model
from aiida_fuse2.tiers import TierChoice, tier_key
from aiida_fuse2.workchains.search_builder import split_overrides

SET = ("calculator", "model", "arguments", "weights")
"""Settings of a relaxation that a potential by name sets."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a potential by name makes of the inputs of a user.

    Attributes:
        code: code of the worker.
        overrides: nested inputs that win over the protocol.
        tiers: tiers that relax; None for the only tier of a search.
    """

    code: orm.AbstractCode
    overrides: dict[str, Any]
    tiers: TierChoice | None


def with_model(
    name: str | None,
    overrides: Mapping[str, Any],
    *,
    code_label: str | None = None,
    tiers: TierChoice | None = None,
    elements: str | None = None,
) -> Chosen:
    """Return inputs with a potential by name; without one they stay as they are.

    Args:
        name: its name, or the file of the user; None for none.
        overrides: nested inputs that win over the protocol.
        code_label: code that the user names; by default that of the potential.
        tiers: tiers that the user names; the potential is that of the one of its kind, ``chgnet`` or ``ase``, and only
            this tier has its code.
        elements: formula whose elements the potential must know.

    Raises:
        InputError: if there is no such potential, overrides or tiers contradict it, or it was not trained with an
            element.
        SetupError: if it is not installed.
    """
    if name is None:
        return Chosen(code=load_code(code_label or CODE_LABEL), overrides=dict(overrides), tiers=tiers)
    model = find_model(name)
    if elements is not None:
        check_elements(model, parse_composition(elements).elements)
    if tiers is None:
        _check_free(name, overrides.get("relax"), "relax")
        found = find_installed(model, name, code_label)
        changes = merge(overrides, {"relax": {"settings": found.settings}})
        return Chosen(code=found.code, overrides=changes, tiers=None)
    tier = tier_of_model(model)
    if list(tiers.names).count(tier) != 1:
        expected = f"is computed by the tier {tier!r}, which --tiers must name once, not {','.join(tiers.names)}"
        raise InputError("--model", name, expected)
    of_tiers = split_overrides(overrides)[1]
    for key in (tier, tier_key(list(tiers.names).index(tier))):
        _check_free(name, of_tiers.get(key) if isinstance(of_tiers, Mapping) else None, f"tiers.{key}")
    named = tiers.codes.get(tier)
    found = find_installed(model, name, code_label if named is None else str(named.uuid))
    worker = load_code(code_label or CODE_LABEL)
    codes = tiers.codes if model.code_label == DEFAULT_CODE else {**tiers.codes, tier: found.code}
    changes = merge(overrides, {"tiers": {tier: {"settings": found.settings}}})
    return Chosen(code=worker, overrides=changes, tiers=replace(tiers, codes=codes))


def installed_model(name: str | None, code_label: str | None = None) -> Installed | None:
    """Return a potential by name with its code, or None if none is named."""
    return None if name is None else find_installed(find_model(name), name, code_label)


def only_model(name: str | None) -> TierChoice:
    """Return the tier of a potential by name alone; the default potential if none is named."""
    return TierChoice(names=[CHGNET if name is None else tier_of_model(find_model(name))])


def _check_free(name: str, changes: object, where: str) -> None:
    """Refuse overrides of what a potential by name sets."""
    settings = changes.get("settings") if isinstance(changes, Mapping) else None
    for key in SET:
        if isinstance(settings, Mapping) and key in settings:
            expected = f"--model {name} sets it: give only one of them"
            raise InputError(f"{where}.settings.{key}", settings[key], expected)
