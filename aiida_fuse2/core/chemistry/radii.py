"""Atomic and ionic radii, and the module size that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from aiida_fuse2.core.errors import InputError

from .atomic_radii import ATOMIC_RADII
from .composition import FormulaUnit

CHARGE_TOLERANCE = 0.01
"""Charge per atom that counts as rounding, as in a mean oxidation state of 2.667."""


def resolve_radii(
    unit: FormulaUnit,
    *,
    overrides: Mapping[str, float] | None = None,
    oxidation_states: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Return the radius of each element of a composition, Å.

    Args:
        unit: the composition.
        overrides: radii of the user's own, Å, by element; they take precedence over every table.
        oxidation_states: oxidation state by element, for every element; if given, the radii are
            Shannon's ionic ones, otherwise those of ``atomic_radii``.

    Raises:
        InputError: if a radius is not positive or not known, or if oxidation states are missing, are
            those of other elements, or do not balance.
    """
    overrides = dict(overrides or {})
    for symbol, value in overrides.items():
        if symbol not in unit.elements:
            raise InputError(f"settings.radii[{symbol}]", value, f"{symbol} is not in {unit.formula}")
        if not 0.1 < value < 10:
            raise InputError(f"settings.radii[{symbol}]", value, "a radius lies between 0.1 and 10 Å")
    if oxidation_states:
        _check_states(unit, oxidation_states)
        table = {s: _ionic(s, oxidation_states) for s in unit.elements if s not in overrides}
        _check_balance(unit, oxidation_states)
    else:
        table = {s: _atomic(s) for s in unit.elements if s not in overrides}
    return {**table, **overrides}


def module_size(
    unit: FormulaUnit, radii: Mapping[str, float], oxidation_states: Mapping[str, float] | None = None
) -> float:
    """Return ``ap``, the edge of a sub-module, Å.

    4 x the composition-weighted mean radius or, if oxidation states are given,
    2 (R_cation + R_anion) of the weighted means of either kind (paper section 2.2; the box of a
    sub-module is ``[ap, ap, ap/2]``).

    Args:
        unit: the composition.
        radii: radius of each element, Å.
        oxidation_states: oxidation state of each element, or None.
    """
    counts = unit.as_dict()
    if not oxidation_states:
        return 4.0 * _mean({s: radii[s] for s in counts}, counts)
    cations = {s: radii[s] for s in counts if oxidation_states[s] > 0}
    anions = {s: radii[s] for s in counts if oxidation_states[s] < 0}
    return 2.0 * (_mean(cations, counts) + _mean(anions, counts))


def _mean(radii: Mapping[str, float], counts: Mapping[str, int]) -> float:
    return sum(radii[s] * counts[s] for s in radii) / sum(counts[s] for s in radii)


def _atomic(symbol: str) -> float:
    if symbol not in ATOMIC_RADII:
        known = f"no atomic radius is tabulated; give one, e.g. settings.radii={{{symbol}: 1.7}}"
        raise InputError("composition", symbol, known)
    return ATOMIC_RADII[symbol]


def _check_states(unit: FormulaUnit, states: Mapping[str, float]) -> None:
    """Check that there is an oxidation state for each element and no other, with both signs."""
    missing = [symbol for symbol in unit.elements if symbol not in states]
    foreign = [symbol for symbol in states if symbol not in unit.elements]
    shown = dict(states)
    if missing:
        raise InputError("settings.oxidation_states", shown, f"{missing[0]} is missing; give every element or none")
    if foreign:
        raise InputError(
            f"settings.oxidation_states[{foreign[0]}]", states[foreign[0]], f"{foreign[0]} is not in {unit.formula}"
        )
    values = [states[s] for s in unit.elements]
    if not (any(v > 0 for v in values) and any(v < 0 for v in values)) or 0 in values:
        raise InputError(
            "settings.oxidation_states", shown, "needs at least one cation (> 0) and one anion (< 0), and no 0"
        )


def _check_balance(unit: FormulaUnit, states: Mapping[str, float]) -> None:
    charge = sum(states[s] * number for s, number in unit.counts)
    if abs(charge) > CHARGE_TOLERANCE * unit.n_atoms:
        raise InputError(
            "settings.oxidation_states", dict(states), f"must balance; the charge of {unit.formula} is {charge:+.6g}"
        )


@lru_cache(maxsize=256)
def _shannon(symbol: str, state: int) -> float | None:
    """Return the Shannon radius in sixfold coordination, or the mean over the tabulated ones, Å."""
    from pymatgen.core import Element

    table = Element(symbol).data.get("Shannon radii", {}).get(str(state))
    if not table:
        return None
    if "VI" in table:
        return float(next(iter(table["VI"].values()))["ionic_radius"])
    values = [spin["ionic_radius"] for site in table.values() for spin in site.values()]
    return float(sum(values) / len(values))


def _ionic(symbol: str, states: Mapping[str, float]) -> float:
    state = states[symbol]
    radius = _shannon(symbol, round(state)) if state == round(state) else None
    if radius is None or radius <= 0.1:
        wanted = f"no Shannon radius is tabulated for it; give one, e.g. settings.radii={{{symbol}: 0.7}}"
        raise InputError(f"settings.oxidation_states[{symbol}]", state, wanted)
    return radius
