"""Hubbard U and starting moments of the Materials Project, and where plain PBE contradicts CHGNet.

The values are those of pymatgen's ``MPRelaxSet``: U (Dudarev) for Co, Cr, Fe, Mn, Mo, Ni, V and W in compounds whose
most electronegative element is O or F, and a starting moment for each element. CHGNet was trained with such energies.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

from aiida_fuse2.core.relaxers.dft import DftSettings
from aiida_fuse2.core.settings import CHGNET

from .registry import find_tier

OF_TIER = {"vasp": "vasp", "qe": "quantum_espresso"}
"""Page of the documentation by tier."""


@cache
def _incar() -> dict[str, Any]:
    from pymatgen.io.vasp.sets import MPRelaxSet  # slow to import

    found: dict[str, Any] = MPRelaxSet.CONFIG["INCAR"]
    return found


def hubbard_u(elements: Collection[str]) -> dict[str, float]:
    """Return U of each element of a compound that has one, eV; empty unless it is an oxide or a fluoride.

    Args:
        elements: elements of the compound.
    """
    from pymatgen.core import Element

    anion = max(elements, key=lambda symbol: float(Element(symbol).X))
    values = _incar()["LDAUU"].get(anion, {})
    return {symbol: float(values[symbol]) for symbol in sorted(elements) if values.get(symbol)}


def manifold(symbol: str) -> str:
    """Return the d shell to which U of a transition metal applies, such as ``3d``."""
    from pymatgen.core import Element

    return f"{Element(symbol).row - 1}d"


def moments(elements: Collection[str]) -> dict[str, float]:
    """Return the starting moment of each element, Bohr magnetons; 0.6 for those without a value of their own."""
    values = _incar()["MAGMOM"]
    return {symbol: float(values.get(symbol, 0.6)) for symbol in sorted(elements)}


def mixed_functionals(tiers: Sequence[tuple[str, Mapping[str, Any]]], elements: Collection[str]) -> str | None:
    """Return a warning if plain PBE orders anew what CHGNet, trained with U, has relaxed; otherwise None.

    Args:
        tiers: name and settings of each tier, in their order.
        elements: elements of all structures.
    """
    values = hubbard_u(elements)
    names = [name for name, _ in tiers]
    if CHGNET not in names or not values:
        return None
    later = tiers[names.index(CHGNET) + 1 :]
    plain = [name for name, settings in later if _is_dft(name) and not _has_u(settings)]
    if not plain:
        return None
    page = OF_TIER.get(plain[0], "tiers")
    return (
        f"CHGNet was trained with energies of PBE with U for {', '.join(values)} in oxides and fluorides, and "
        f"{plain[0]} computes plain PBE: they may order structures differently. docs/howto/{page}.md says how to use U"
    )


def _is_dft(name: str) -> bool:
    tier = find_tier(name)
    return tier is not None and issubclass(tier.settings_model, DftSettings)


def _has_u(settings: Mapping[str, Any]) -> bool:
    """Return whether a tier computes with U, by its own setting or by parameters of Quantum ESPRESSO."""
    parameters = settings.get("parameters", {}).get("SYSTEM", {})
    return settings.get("hubbard") is not None or any(key.lower() == "hubbard_u" for key in parameters)
