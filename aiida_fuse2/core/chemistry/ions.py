"""Which elements of a composition are anions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import lru_cache
from math import isnan

from .composition import FormulaUnit


def anions(unit: FormulaUnit, oxidation_states: Mapping[str, float] | None = None) -> frozenset[str]:
    """Return the elements that are anions; of an element alone none.

    Those with a negative oxidation state; if there are none given, those whose electronegativity (Pauling's, as
    tabulated by pymatgen) is above the mean of the atoms. Elements without a value, most noble gases, are none.

    Args:
        unit: the composition.
        oxidation_states: oxidation state of each element, or None.
    """
    if oxidation_states:
        return frozenset(symbol for symbol in unit.elements if oxidation_states[symbol] < 0)
    values = {symbol: electronegativity(symbol) for symbol in unit.elements}
    known = [(value, number) for (_, number), value in zip(unit.counts, values.values(), strict=True) if value]
    mean = sum(value * number for value, number in known) / max(1, sum(number for _, number in known))
    return frozenset(symbol for symbol, value in values.items() if value > mean)


@lru_cache(maxsize=128)
def electronegativity(symbol: str) -> float:
    """Return the electronegativity of an element on Pauling's scale, 0 if it has none."""
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about elements without a value
        value = float(Element(symbol).X)
    return 0.0 if isnan(value) else value
