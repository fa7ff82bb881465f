"""Crystals built from their published coordinates."""

from __future__ import annotations

from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal


def garnet() -> Atoms:
    """Grossular Ca3Al2Si3O12, Ia-3d (Abrahams and Geller 1958, DOI 10.1107/S0365110X5800116X)."""
    sites = [(1 / 8, 0, 1 / 4), (0, 0, 0), (3 / 8, 0, 1 / 4), (0.0381, 0.0449, 0.6514)]
    return crystal(["Ca", "Al", "Si", "O"], sites, spacegroup=230, cellpar=[11.845] * 3 + [90] * 3)


def perovskite() -> Atoms:
    """SrTiO3, Pm-3m, a = 3.905 Å."""
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]
    return crystal(["Sr", "Ti", "O"], sites, spacegroup=221, cellpar=[3.905] * 3 + [90] * 3)


def quartz() -> Atoms:
    """α-quartz, P3_221 (Levien, Prewitt and Weidner 1980, Am. Mineral. 65, 920)."""
    sites = [(0.4697, 0, 2 / 3), (0.4135, 0.2669, 2 / 3 + 0.1191)]
    return crystal(["Si", "O"], sites, spacegroup=154, cellpar=[4.916, 4.916, 5.405, 90, 90, 120])


def spinel() -> Atoms:
    """MgAl2O4, Fd-3m (origin at the centre)."""
    sites = [(1 / 8,) * 3, (0.5,) * 3, (0.2624,) * 3]
    return crystal(["Mg", "Al", "O"], sites, spacegroup=227, setting=2, cellpar=[8.08] * 3 + [90] * 3)


def alpha_manganese() -> Atoms:
    """α-Mn, I-43m (Oberteuffer and Ibers 1970, DOI 10.1107/S0567740870004399)."""
    sites = [(0, 0, 0), (0.317, 0.317, 0.317), (0.357, 0.357, 0.034), (0.089, 0.089, 0.282)]
    return crystal(["Mn"] * 4, sites, spacegroup=217, cellpar=[8.911] * 3 + [90] * 3)


def ruddlesden_popper(c: float = 19.4, a: float = 3.85) -> Atoms:
    """Ca3Ti2O7 as the untilted parent, I4/mmm (sites of Sr3Ti2O7, DOI 10.1107/S0108768190013416)."""
    sites = [(0, 0, 0.5), (0, 0, 0.3140), (0, 0, 0.0976), (0, 0, 0), (0, 0, 0.1940), (0, 0.5, 0.0957)]
    symbols = ["Ca", "Ca", "Ti", "O", "O", "O"]
    return crystal(symbols, sites, spacegroup=139, cellpar=[a, a, c, 90, 90, 90])


def real_crystals() -> dict[str, Atoms]:
    """The crystals that every validity window must admit."""
    return {
        "rocksalt": bulk("NaCl", "rocksalt", a=5.64),
        "perovskite": perovskite(),
        "garnet": garnet(),
        "quartz": quartz(),
        "spinel": spinel(),
        "fluorite": bulk("CaF2", "fluorite", a=5.463),
        "antifluorite": bulk("OLi2", "fluorite", a=4.62),
        "hcp": bulk("Mg", "hcp", a=3.209, c=5.211),
        "alpha_manganese": alpha_manganese(),
        "ruddlesden_popper": ruddlesden_popper(),
        "diamond": bulk("C", "diamond", a=3.567),
        "bcc_caesium": bulk("Cs", "bcc", a=6.14),
    }
