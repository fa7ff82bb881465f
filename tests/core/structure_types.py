"""Crystals of as many structure types, from their published cells and coordinates (rounded)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ase import Atoms
from ase.spacegroup import crystal


class Sites(NamedTuple):
    """A crystal as space group, setting, cell (Å, degrees) and one site of each orbit."""

    symbols: Sequence[str]
    sites: Sequence[tuple[float, float, float]]
    group: int
    cell: Sequence[float]
    setting: int = 1


def _cubic(a: float) -> list[float]:
    return [a, a, a, 90, 90, 90]


def _tetragonal(a: float, c: float) -> list[float]:
    return [a, a, c, 90, 90, 90]


def _hexagonal(a: float, c: float) -> list[float]:
    return [a, a, c, 90, 90, 120]


def _orthorhombic(a: float, b: float, c: float) -> list[float]:
    return [a, b, c, 90, 90, 90]


_O = (0.0, 0.0, 0.0)
_H = (0.5, 0.5, 0.5)
_Q = (0.25, 0.25, 0.25)
_E = (0.125, 0.125, 0.125)
_T = (1 / 3, 2 / 3, 0.0)
_C = (1 / 3, 2 / 3, 0.25)

TYPES: dict[str, Sites] = {
    "NaCl": Sites(["Na", "Cl"], [_O, _H], 225, _cubic(5.640)),
    "MgO": Sites(["Mg", "O"], [_O, _H], 225, _cubic(4.211)),
    "CsCl": Sites(["Cs", "Cl"], [_O, _H], 221, _cubic(4.123)),
    "ZnS, sphalerite": Sites(["Zn", "S"], [_O, _Q], 216, _cubic(5.409)),
    "ZnO, wurtzite": Sites(["Zn", "O"], [(1 / 3, 2 / 3, 0), (1 / 3, 2 / 3, 0.382)], 186, _hexagonal(3.250, 5.207)),
    "CaF2": Sites(["Ca", "F"], [_O, _Q], 225, _cubic(5.463)),
    "Li2O": Sites(["O", "Li"], [_O, _Q], 225, _cubic(4.619)),
    "TiO2, rutile": Sites(["Ti", "O"], [_O, (0.3053, 0.3053, 0)], 136, _tetragonal(4.594, 2.959)),
    "TiO2, anatase": Sites(["Ti", "O"], [_O, (0, 0, 0.2081)], 141, _tetragonal(3.785, 9.514)),
    "Al2O3": Sites(["Al", "O"], [(0, 0, 0.3522), (0.3063, 0, 0.25)], 167, _hexagonal(4.759, 12.991)),
    "FeTiO3": Sites(
        ["Fe", "Ti", "O"],
        [(0, 0, 0.3554), (0, 0, 0.1464), (0.3174, 0.0233, 0.2451)],
        148,
        _hexagonal(5.088, 14.085),
    ),
    "CaCO3, calcite": Sites(["Ca", "C", "O"], [_O, (0, 0, 0.25), (0.2568, 0, 0.25)], 167, _hexagonal(4.990, 17.061)),
    "CaCO3, aragonite": Sites(
        ["Ca", "C", "O", "O"],
        [(0.7597, 0.25, 0.4150), (0.9138, 0.25, 0.7622), (0.9038, 0.25, 0.9222), (0.9128, 0.4736, 0.6810)],
        62,
        _orthorhombic(5.741, 4.961, 7.967),
    ),
    "SrTiO3": Sites(["Sr", "Ti", "O"], [_O, _H, (0.5, 0.5, 0)], 221, _cubic(3.905)),
    "CaTiO3": Sites(
        ["Ca", "Ti", "O", "O"],
        [(0.0360, 0.25, 0.9930), (0, 0, 0.5), (0.4838, 0.25, 0.0713), (0.2887, 0.0373, 0.7115)],
        62,
        _orthorhombic(5.442, 7.640, 5.380),
    ),
    "MgAl2O4": Sites(["Mg", "Al", "O"], [_E, _H, (0.2624,) * 3], 227, _cubic(8.080), 2),
    "Mg2SiO4": Sites(
        ["Mg", "Mg", "Si", "O", "O", "O"],
        [
            _O,
            (0.2774, 0.25, 0.9915),
            (0.0940, 0.25, 0.4262),
            (0.0913, 0.25, 0.7657),
            (0.4474, 0.25, 0.2215),
            (0.1628, 0.0331, 0.2777),
        ],
        62,
        _orthorhombic(10.207, 5.980, 4.756),
    ),
    "SiO2, quartz": Sites(
        ["Si", "O"], [(0.4697, 0, 2 / 3), (0.4135, 0.2669, 2 / 3 + 0.1191)], 154, _hexagonal(4.916, 5.405)
    ),
    "SiO2, cristobalite": Sites(
        ["Si", "O"], [(0.3003, 0.3003, 0), (0.2392, 0.1044, 0.1787)], 92, _tetragonal(4.971, 6.928)
    ),
    "FeS2, pyrite": Sites(["Fe", "S"], [_O, (0.3848,) * 3], 205, _cubic(5.418)),
    "FeS2, marcasite": Sites(["Fe", "S"], [_O, (0.2005, 0.3783, 0)], 58, _orthorhombic(4.443, 5.425, 3.387)),
    "NiAs": Sites(["Ni", "As"], [_O, _C], 194, _hexagonal(3.619, 5.034)),
    "MoS2": Sites(["Mo", "S"], [_C, (1 / 3, 2 / 3, 0.6210)], 194, _hexagonal(3.160, 12.294)),
    "CdI2": Sites(["Cd", "I"], [_O, (1 / 3, 2 / 3, 0.2492)], 164, _hexagonal(4.240, 6.840)),
    "Cu3Au": Sites(["Au", "Cu"], [_O, (0, 0.5, 0.5)], 221, _cubic(3.748)),
    "Al3Ti": Sites(["Ti", "Al", "Al"], [_O, (0, 0, 0.5), (0, 0.5, 0.25)], 139, _tetragonal(3.854, 8.584)),
    "MgZn2": Sites(
        ["Mg", "Zn", "Zn"],
        [(1 / 3, 2 / 3, 0.062), _O, (0.830, 0.660, 0.25)],
        194,
        _hexagonal(5.223, 8.566),
    ),
    "MgCu2": Sites(["Mg", "Cu"], [_E, _H], 227, _cubic(7.034), 2),
    "AlB2": Sites(["Al", "B"], [_O, (1 / 3, 2 / 3, 0.5)], 191, _hexagonal(3.009, 3.262)),
    "Cr3Si": Sites(["Si", "Cr"], [_O, (0.25, 0, 0.5)], 223, _cubic(4.564)),
    "ZrSiO4": Sites(
        ["Zr", "Si", "O"], [(0, 0.75, 0.125), (0, 0.25, 0.375), (0, 0.0661, 0.1953)], 141, _tetragonal(6.607, 5.982), 2
    ),
    "CaWO4": Sites(
        ["Ca", "W", "O"],
        [(0, 0.25, 0.625), (0, 0.25, 0.125), (0.1507, 0.0086, 0.2106)],
        88,
        _tetragonal(5.243, 11.376),
        2,
    ),
    "K2NiF4": Sites(
        ["K", "Ni", "F", "F"], [(0, 0, 0.3520), _O, (0, 0.5, 0), (0, 0, 0.1510)], 139, _tetragonal(4.006, 13.076)
    ),
    "CuAlO2": Sites(["Cu", "Al", "O"], [_O, (0, 0, 0.5), (0, 0, 0.1099)], 166, _hexagonal(2.858, 16.943)),
    "LiCoO2": Sites(["Co", "Li", "O"], [_O, (0, 0, 0.5), (0, 0, 0.2605)], 166, _hexagonal(2.816, 14.054)),
    "CuFeS2": Sites(["Cu", "Fe", "S"], [_O, (0, 0, 0.5), (0.2574, 0.25, 0.125)], 122, _tetragonal(5.289, 10.423)),
    "MgAgAs": Sites(["Mg", "Ag", "As"], [_H, _Q, _O], 216, _cubic(6.253)),
    "Cu2MnAl": Sites(["Al", "Mn", "Cu"], [_O, _H, _Q], 225, _cubic(5.949)),
    "CoAs3": Sites(["Co", "As"], [_Q, (0, 0.1505, 0.3442)], 204, _cubic(8.204)),
    "Cu2O": Sites(["Cu", "O"], [_O, _Q], 224, _cubic(4.270)),
    "PbO, litharge": Sites(["O", "Pb"], [_O, (0, 0.5, 0.2345)], 129, _tetragonal(3.972, 5.022)),
    "CaB6": Sites(["Ca", "B"], [_O, (0.2019, 0.5, 0.5)], 221, _cubic(4.151)),
}


def structure_types() -> dict[str, Atoms]:
    """Return the crystals by name, each as its conventional cell."""
    return {
        name: crystal(list(t.symbols), list(t.sites), spacegroup=t.group, setting=t.setting, cellpar=list(t.cell))
        for name, t in TYPES.items()
    }
