"""The AFLOW Encyclopedia of Crystallographic Prototypes, built from the labels and parameters in ``kim-tools``.

D. Hicks et al., Comput. Mater. Sci. 2021, 199, 110450, DOI 10.1016/j.commatsci.2021.110450, and the works that it
continues. The package ``kim-tools`` (CDDL-1.0) has it as labels with parameters, without coordinates.

A label reads anonymous formula, Pearson symbol, space group, and the Wyckoff letters of each species (``h4i``: h once,
i four times); species are in alphabetical order of their elements. Parameters are numbered over all sites, sorted by
Wyckoff letter (A after z) first and by species second. Rhombohedral groups have coordinates in rhombohedral axes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import cellpar_to_cell
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.protostructure import type_label
from aiida_fuse2.core.crystal.symmetry import SymmetryError, find_symmetry
from aiida_fuse2.core.crystal.wyckoff import lattice_type, positions_of, primitive_basis

from .library import Prototype, PrototypeError, make_prototype

PACKAGE = "kim-tools"
"""The package that has the labels and parameters."""

FOLDER = "kim_tools/aflow_util/aflow_prototype_encyclopedia/data"
"""Folder of the entries in that package."""

LICENCE = "CDDL-1.0"

CITATION = (
    "D. Hicks, M. J. Mehl, M. Esters, C. Oses, O. Levy, G. L. W. Hart, C. Toher, S. Curtarolo, Comput. Mater. Sci. "
    "2021, 199, 110450, DOI 10.1016/j.commatsci.2021.110450"
)
"""The work to cite for the library."""

SYMPREC = 0.02
"""Tolerance for the space group of a built structure, Å."""

SHORTEST_DISTANCE = 0.7
"""Shortest distance of two atoms in a prototype, Å; below it, sites are occupied by a part of the atoms only."""

SAME_PLACE = 1e-4
"""Fractional coordinates nearer than this are one position."""

RHOMBOHEDRAL = np.array([[1.0, 0.0, 1.0], [-1.0, 1.0, 1.0], [0.0, -1.0, 1.0]])
"""Coordinates in rhombohedral axes from those in hexagonal ones (obverse setting), as columns."""

_RHOMBOHEDRAL_SITES: Mapping[int, Mapping[str, str]] = MappingProxyType(
    {
        146: {"a": "x,x,x", "b": "x,y,z"},
        148: {"a": "0,0,0", "b": "h,h,h", "c": "x,x,x", "d": "h,0,0", "e": "0,h,h", "f": "x,y,z"},
        155: {"a": "0,0,0", "b": "h,h,h", "c": "x,x,x", "d": "0,y,-y", "e": "h,y,-y", "f": "x,y,z"},
        160: {"a": "x,x,x", "b": "x,x,z", "c": "x,y,z"},
        161: {"a": "x,x,x", "b": "x,y,z"},
        166: {
            "a": "0,0,0",
            "b": "h,h,h",
            "c": "x,x,x",
            "d": "h,0,0",
            "e": "0,h,h",
            "f": "x,-x,0",
            "g": "x,-x,h",
            "h": "x,x,z",
            "i": "x,y,z",
        },
        167: {"a": "q,q,q", "b": "0,0,0", "c": "x,x,x", "d": "h,0,0", "e": "x,h-x,q", "f": "x,y,z"},
    }
)
"""Representatives of the Wyckoff positions in rhombohedral axes, from the International Tables; h = 1/2, q = 1/4."""


@dataclass(frozen=True)
class Entry:
    """An entry of the encyclopedia.

    Attributes:
        label: its label.
        title: title for people, in TeX.
        compound: formula of the compound that it is named after.
        parameters: values of cell and coordinates by their names.
        source: the source of the structure, for people.
    """

    label: str
    title: str
    compound: str
    parameters: Mapping[str, float]
    source: str

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Entry:
        """Return the entry of a file ``info.json``."""
        numbers = zip(values["parameter_symbols"], values["parameter_values"], strict=True)
        icsd = f", ICSD {values['icsd']}" if values.get("icsd") else ""
        return cls(
            label=values["label"],
            title=values["title"],
            compound=values["prototype"],
            parameters={name: float(value) for name, value in numbers},
            source=f"AFLOW prototype {values['label']}{icsd}",
        )

    @property
    def space_group(self) -> int:
        """Number of the space group."""
        return int(self.label.split("_")[2])

    @property
    def name(self) -> str:
        """Name of the type for people; the compound if the title has only a Strukturbericht symbol."""
        name = plain_title(self.title)
        return self.compound if re.fullmatch(r"[A-L]\d+[a-z]?", name) else name

    def sites(self) -> list[tuple[int, str]]:
        """Return species (from 0) and Wyckoff letter of each site, in the order of the parameters."""
        letters = self.label.partition("-")[0].split("_")[3:]
        found = [
            (species, letter)
            for species, text in enumerate(letters)
            for number, letter in re.findall(r"(\d*)([A-Za-z])", text)
            for _ in range(int(number or 1))
        ]
        return sorted(found, key=lambda site: (site[1] == "A", site[1], site[0]))

    def elements(self) -> list[str]:
        """Return the elements of the species, in their order.

        Raises:
            PrototypeError: ``elements`` if the compound has others than the label.
        """
        from pymatgen.core import Composition

        try:
            found = sorted(element.symbol for element in Composition(self.compound).elements)
        except (ValueError, KeyError) as error:
            raise PrototypeError("elements", f"{self.compound} is no formula") from error
        if len(found) != len(self.label.partition("-")[0].split("_")) - 3:
            raise PrototypeError("elements", f"{self.compound} has other elements than {self.label}")
        return found


GREEK = MappingProxyType(
    {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "theta": "θ", "kappa": "κ"}
    | {"lambda": "λ", "mu": "μ", "omega": "ω", "phi": "φ", "pi": "π", "psi": "ψ", "sigma": "σ", "tau": "τ", "xi": "ξ"}
    | {"zeta": "ζ", "chi": "χ", "rho": "ρ", "nu": "ν", "Gamma": "Γ", "cdot": "·", "prime": "'", "times": "×"}
)


def plain_title(title: str) -> str:
    """Return the name of a type from its title in TeX, e.g. ``Rutile`` from ``Rutile (TiO$_{2}$, $C4$) Structure``."""
    text = re.sub(r"\\(?:em|it|rm|text|bf)\b\s*|``|''", "", title)
    text = re.sub(r"\\([A-Za-z]+)", lambda found: GREEK.get(found[1], ""), text)
    text = re.sub(r"\\.|[${}_^']", "", text)
    text = re.sub(r"\s*\bStructure\b.*$", "", text)
    # what follows in brackets is formula and Strukturbericht; numbers of phases and oxidation states belong to the name
    name = re.sub(r"\s[(\[](?![IV]+\)).*$", "", text)
    return " ".join((name.strip() or text).split())


def _value(text: str, parameters: Mapping[str, float]) -> float:
    """Return a coordinate such as ``-x`` or ``h-x``."""
    total = 0.0
    for sign, name in re.findall(r"([+-]?)([0hqxyz])", text):
        value = {"0": 0.0, "h": 0.5, "q": 0.25, **parameters}[name]
        total += -value if sign == "-" else value
    return total


def _representative(number: int, letter: str, rhombohedral: bool, xyz: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the first place of a Wyckoff position in the conventional cell, shape (3,)."""
    if rhombohedral:
        text = _RHOMBOHEDRAL_SITES[number][letter]
        place = np.array([_value(part, xyz) for part in text.split(",")])
        return np.linalg.solve(RHOMBOHEDRAL, place)
    position = next(p for p in positions_of(number) if p.letter.lstrip("0123456789") == letter)
    free = np.array([xyz.get(axis, 0.0) for axis in "xyz"])
    found: NDArray[np.float64] = position.rotations[0] @ free + position.translations[0]
    return found


def _orbit(number: int, place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return all places that the group makes of one: of one primitive cell, conventional coordinates, shape (n, 3)."""
    general = positions_of(number)[0]
    places = general.rotations @ place + general.translations
    reduced = places @ np.linalg.inv(primitive_basis(number))
    kept: list[int] = []
    for i, own in enumerate(reduced):
        steps = own - reduced[kept]
        if not (np.abs(steps - np.round(steps)) < SAME_PLACE).all(axis=1).any():
            kept.append(i)
    return places[kept]


def build(entry: Entry) -> Atoms:
    """Return the structure of an entry in its primitive cell.

    Args:
        entry: the entry.

    Raises:
        PrototypeError: ``elements`` if compound and label disagree; ``parameters`` if one is missing; ``space_group``,
            ``composition`` or ``contact`` if the structure is not what the label says, or atoms are on top of each
            other.
    """
    number, elements = entry.space_group, entry.elements()
    values = entry.parameters
    rhombohedral = number in _RHOMBOHEDRAL_SITES
    try:
        cell = _cell(number, values)
        symbols: list[str] = []
        places = []
        for index, (species, letter) in enumerate(entry.sites(), start=1):
            xyz = {axis: values[f"{axis}{index}"] for axis in "xyz" if f"{axis}{index}" in values}
            orbit = _orbit(number, _representative(number, letter, rhombohedral, xyz))
            symbols += [elements[species]] * len(orbit)
            places.append(orbit)
    except (KeyError, StopIteration, np.linalg.LinAlgError) as error:
        raise PrototypeError("parameters", f"{entry.label}: {error!r}") from error
    atoms = Atoms(symbols, cell=primitive_basis(number) @ cell, pbc=True)
    atoms.set_positions(np.concatenate(places) @ cell)
    atoms.wrap()
    _check(atoms, entry)
    return atoms


def _cell(number: int, values: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the vectors of the conventional cell as rows, Å, shape (3, 3)."""
    a = values["a"]
    b, c = a * values.get("b/a", 1.0), a * values.get("c/a", 1.0)
    gamma = 120.0 if lattice_type(number) in {"hexagonal", "trigonal"} else values.get("gamma", 90.0)
    angles = [values.get("alpha", 90.0), values.get("beta", 90.0), gamma]
    return np.array(cellpar_to_cell([a, b, c, *angles]), dtype=float)


def _check(atoms: Atoms, entry: Entry) -> None:
    """Refuse a structure that is not what its label says."""
    wanted = {letter: int(count or 1) for letter, count in re.findall(r"([A-Z])(\d*)", entry.label.partition("_")[0])}
    found = Counter(atoms.get_chemical_symbols())
    ratios = {found[element] / count for element, count in zip(entry.elements(), wanted.values(), strict=True)}
    if len(ratios) != 1:
        raise PrototypeError("composition", f"{entry.label}: {dict(found)}")
    if len(neighbour_list("i", atoms, SHORTEST_DISTANCE)):
        raise PrototypeError("contact", f"{entry.label}: atoms nearer than {SHORTEST_DISTANCE} Å")
    try:
        group = find_symmetry(atoms, SYMPREC).number
    except SymmetryError as error:
        raise PrototypeError("space_group", f"{entry.label}: {error}") from error
    if group != entry.space_group:
        raise PrototypeError("space_group", f"{entry.label}: built in {group}")


def data_folder() -> tuple[Path, str]:
    """Return the folder of the entries and the version of the package.

    Raises:
        PrototypeError: ``not_installed`` if the package is missing.
    """
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError as error:
        raise PrototypeError(
            "not_installed", f"{PACKAGE} is not installed: pip install aiida-fuse2[prototypes]"
        ) from error
    folder = Path(str(package.locate_file(FOLDER)))
    if not folder.is_dir():
        raise PrototypeError("not_installed", f"{PACKAGE} {package.version} has no prototypes")
    return folder, package.version


def build_encyclopedia(folder: Path) -> tuple[list[Prototype], Counter[str]]:
    """Return the prototypes of the encyclopedia.

    Args:
        folder: folder of the entries.

    Returns:
        The prototypes in the order of their labels, and the number of entries that were left out, by reason.
    """
    kept: list[Prototype] = []
    refused: Counter[str] = Counter()
    for file in sorted(folder.glob("*/info.json")):
        entry = Entry.from_dict(json.loads(file.read_text(encoding="utf-8")))
        try:
            kept.append(make_prototype(build(entry), key=entry.label, source=entry.source, name=entry.name))
        except PrototypeError as error:
            refused[error.reason] += 1
    return kept, refused


def keeps_label(prototype: Prototype) -> bool:
    """Return whether a prototype of the encyclopedia has the label that it was built from.

    pymatgen, unlike AFLOW, counts the atoms of rhombohedral crystals in the hexagonal cell. A label can also differ in
    the letters of sites that another choice of monoclinic axes exchanges.
    """
    elements = prototype.label.partition(":")[2]
    own = re.sub(r"_hR(\d+)_", lambda found: f"_hR{3 * int(found[1])}_", prototype.key.partition("-")[0])
    return type_label(f"{own}:{elements}") == prototype.type_label
