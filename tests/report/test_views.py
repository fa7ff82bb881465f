"""What is in the picture of a crystal: atoms, bonds, polyhedra."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.crystal.symmetry import primitive_cell, standard_cell
from aiida_fuse2.report.bonding import charges, effective_weights
from aiida_fuse2.report.data import ShownStructure
from aiida_fuse2.report.page import payload
from aiida_fuse2.report.views import centred, distinct_colours, view

from .synthetic import perovskite, report_data

RIGHT, HEXAGONAL = [90, 90, 90], [90, 90, 120]
RUTILE = crystal("TiO", [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.594, 4.594, 2.959, *RIGHT])
SPINEL = crystal(
    "MgAlO", [(1 / 8,) * 3, (1 / 2,) * 3, (0.2624,) * 3], spacegroup=227, setting=2, cellpar=[8.08] * 3 + RIGHT
)
CADMIUM = crystal("CdCl", [(0, 0, 0), (0, 0, 0.252)], spacegroup=166, cellpar=[3.85, 3.85, 17.46, *HEXAGONAL])
CALCITE = crystal(
    "CaCO", [(0, 0, 0), (0, 0, 0.25), (0.257, 0, 0.25)], spacegroup=167, cellpar=[4.99, 4.99, 17.06, *HEXAGONAL]
)
IRON_ARSENIDE = crystal(
    "BaFeAs", [(0, 0, 0), (0.5, 0, 0.25), (0, 0, 0.3545)], spacegroup=139, cellpar=[3.96, 3.96, 13, *RIGHT]
)
CUPRITE = crystal("OCu", [(0, 0, 0), (0.25, 0.25, 0.25)], spacegroup=224, cellpar=[4.27] * 3 + RIGHT)
DELAFOSSITE = crystal(
    "LiCoO", [(0, 0, 0.5), (0, 0, 0), (0, 0, 0.26)], spacegroup=166, cellpar=[2.816, 2.816, 14.05, *HEXAGONAL]
)

KNOWN = {
    "perovskite": (perovskite(), {"Sr": 8, "Ti": 1, "O": 6}, {("Ti", 6): 1}),
    "rutile": (RUTILE, {"Ti": 9, "O": 6}, {("Ti", 6): 9}),
    "silicon": (bulk("Si"), {"Si": 18}, {}),
    "spinel": (SPINEL, {"Mg": 18, "Al": 16, "O": 32}, {("Mg", 4): 18, ("Al", 6): 16}),
    "layers": (CADMIUM, {"Cd": 10, "Cl": 12}, {("Cd", 6): 10}),
    "carbonate": (CALCITE, {"Ca": 16, "C": 12, "O": 22}, {("Ca", 6): 16}),
    "arsenide": (IRON_ARSENIDE, {"Ba": 9, "Fe": 8, "As": 10}, {("Fe", 4): 8}),
    "cuprite": (CUPRITE, {"O": 9, "Cu": 4}, {}),
    "battery": (DELAFOSSITE, {"Li": 10, "Co": 6, "O": 12}, {("Co", 6): 6}),
    "rock salt": (bulk("NaCl", "rocksalt", a=5.64), {"Na": 14, "Cl": 13}, {("Na", 6): 14}),
    "alloy": (bulk("NiTi", "cesiumchloride", a=3.0), {"Ti": 8, "Ni": 1}, {}),
}


def drawn_cell(atoms):
    """Return the cell that is drawn of a structure, from the primitive cell in another place."""
    moved = primitive_cell(atoms, 1e-3)
    moved.positions += [0.4, -0.3, 7.0]
    return centred(standard_cell(moved, 0.1).atoms)


def symbols_of(shown):
    return [shown["elements"][shown["sites"][site][0]]["symbol"] for site, *_ in shown["images"]]


def places_of(shown):
    sites, shifts = zip(*((image[0], image[1:]) for image in shown["images"]), strict=True)
    return np.array(shown["sites"])[list(sites), 1:] + np.array(shifts) @ np.array(shown["cell"])


@pytest.mark.parametrize("name", KNOWN)
def test_conventional_cell_as_in_textbooks(name):
    atoms, inside, polyhedra = KNOWN[name]
    shown = view(drawn_cell(atoms))
    symbols = symbols_of(shown)
    assert Counter(symbols[: shown["inside"]]) == inside
    assert Counter((symbols[centre], len(corners)) for _, centre, *corners in shown["polyhedra"]) == polyhedra
    fractions = places_of(shown)[: shown["inside"]] @ np.linalg.inv(shown["cell"])
    assert fractions.min() > -0.03
    assert fractions.max() < 1.03


@pytest.mark.parametrize("name", KNOWN)
def test_polyhedra_are_closed_and_turned_outwards(name):
    shown = view(drawn_cell(KNOWN[name][0]))
    places = places_of(shown)
    for shape, centre, *corners in shown["polyhedra"]:
        faces, edges = shown["shapes"][shape]
        assert (len(faces), len(edges)) == {4: (4, 6), 6: (8, 12)}[len(corners)]
        points = places[corners] - places[centre]
        volumes = [np.linalg.det(points[face]) / 6 for face in faces]
        assert min(volumes) > 0


def test_perovskite_has_the_bonds_of_titanium_alone():
    shown = view(drawn_cell(perovskite()))
    symbols, places = symbols_of(shown), places_of(shown)
    assert len(shown["bonds"]) == 6
    for a, b in shown["bonds"]:
        assert {symbols[a], symbols[b]} == {"Ti", "O"}
        assert np.linalg.norm(places[a] - places[b]) == pytest.approx(1.9525, abs=2e-3)
    corners = places[[i for i, symbol in enumerate(symbols) if symbol == "Sr"]] / 3.905
    assert np.allclose(corners, np.round(corners), atol=1e-3)


def test_silicon_is_tetrahedral():
    shown = view(drawn_cell(bulk("Si")))
    bonds = Counter(index for pair in shown["bonds"] for index in pair)
    assert len(shown["bonds"]) == 16
    assert sorted(bonds.values(), reverse=True)[:4] == [4, 4, 4, 4]  # the four atoms inside have all of theirs


def test_bonds_to_other_cells_are_known_where_a_cell_lacks_them():
    """Of each atom of lonsdaleite one bond goes up or down, and three go to atoms of which some are in other cells."""
    cell = crystal("Si", [(1 / 3, 2 / 3, 0.0627)], spacegroup=194, cellpar=[3.857, 3.857, 6.310, 90, 90, 120])
    shown = view(cell)
    assert (len(shown["images"]), len(shown["bonds"])) == (4, 3)
    links = {(i, j, *shift) for i, j, *shift in shown["links"]}
    links |= {(j, i, *(-x for x in shift)) for i, j, *shift in links}
    places = places_of(shown)
    ends = Counter(i for i, *_ in links) + Counter(index for pair in shown["bonds"] for index in pair)
    assert set(ends.values()) == {4}
    for i, j, *shift in links:
        assert np.linalg.norm(places[j] + np.array(shift) @ cell.cell.array - places[i]) < 2.5
    assert view(drawn_cell(perovskite()))["links"] == []


def test_carbonate_keeps_the_bonds_of_carbon():
    shown = view(drawn_cell(CALCITE))
    symbols = symbols_of(shown)
    inner = Counter(a if symbols[a] == "C" else b for a, b in shown["bonds"] if "C" in {symbols[a], symbols[b]})
    assert max(inner.values()) == 3


def test_peroxide_has_a_bond_between_its_anions():
    atoms = crystal("NaO", [(0, 0, 0), (0, 0, 0.4)], spacegroup=123, cellpar=[4.2, 4.2, 7.5, *RIGHT])
    shown = view(atoms)
    symbols = symbols_of(shown)
    assert [symbols[a] + symbols[b] for a, b in shown["bonds"]].count("OO") == 4  # one molecule on each edge along c


def test_fifty_atoms_without_symmetry():
    atoms = perovskite().repeat((2, 5, 1))
    atoms.rattle(0.08, seed=1)
    shown = view(atoms)
    assert len(shown["sites"]) == 50
    assert {len(corners) for _, _, *corners in shown["polyhedra"]} == {6}
    assert len({centre for _, centre, *_ in shown["polyhedra"]}) == 10
    assert len(str(shown)) < 15_000


@settings(max_examples=25, deadline=None)
@given(shift=st.tuples(*[st.floats(-3, 3)] * 3), seed=st.integers(0, 99))
def test_bonds_do_not_depend_on_the_origin(shift, seed):
    atoms = perovskite().repeat((2, 1, 1))
    atoms.rattle(0.05, seed=seed)
    moved = atoms.copy()
    moved.set_scaled_positions(atoms.get_scaled_positions() + shift)
    shapes = [sorted(map(len, hull[0])) for hull in view(moved)["shapes"]]
    assert shapes == [sorted(map(len, hull[0])) for hull in view(atoms)["shapes"]]


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.999, -4.2])
def test_picture_does_not_depend_on_the_origin_by_whole_cells(shift):
    atoms = bulk("Cu", cubic=True)
    atoms.set_scaled_positions(atoms.get_scaled_positions() + np.array([shift, 0, 0]))
    shown = view(atoms)
    assert len(shown["images"]) == (14 if abs(shift - round(shift)) < 0.01 else 9)
    assert shown["bonds"] == []


def test_lone_atom_has_no_bonds():
    assert view(Atoms("Ar", cell=[8] * 3, pbc=True))["bonds"] == []


def test_weights_are_those_of_hoppe():
    assert effective_weights(np.full(6, 2.0)) == pytest.approx(np.ones(6))
    weights = effective_weights(np.array([1.9, 1.9, 2.0, 2.0, 2.1, 3.5]))
    assert weights[:5].min() > 0.5
    assert weights[5] < 1e-6


@pytest.mark.parametrize(
    ("formula", "anions"),
    [("SrTiO3", "O"), ("La2O2S", "O S"), ("CaCO3", "O"), ("GaAs", "As"), ("NiTi", ""), ("Si", ""), ("CePt3Si", "Si")],
)
def test_anions_follow_from_the_composition(formula, anions):
    assert {symbol for symbol, charge in charges(formula).items() if charge < 0} == set(anions.split())


def test_neighbouring_colours_differ():
    colours = distinct_colours(["Ca", "Ti", "O"])  # VESTA has the same blue for Ca and Ti
    red, green, blue = (int(colours["Ca"][i : i + 2], 16) for i in (1, 3, 5))
    assert green > max(red, blue)
    assert distinct_colours(["Ti", "O"])["Ti"] == colours["Ti"]


def test_page_draws_the_conventional_cell_and_keeps_the_relaxed_one():
    data = report_data(30, drawn=1)
    label = next(iter(data.structures))
    relaxed = primitive_cell(SPINEL, 1e-3)
    shown = {"label": label, "atoms": relaxed, "cif": None, "cif_symmetrised": None, "file_name": "a.cif"}
    data.structures[label] = ShownStructure(**shown, conventional=standard_cell(relaxed, 0.1).atoms)
    values = payload(data)["structures"][label]
    assert (len(values["sites"]), values["relaxed"]["atoms"], values["conventional"]) == (56, 14, True)
    assert values["sizes"] == pytest.approx([8.08, 8.08, 8.08, 90, 90, 90])
    data.structures[label] = ShownStructure(**shown)
    values = payload(data)["structures"][label]
    assert (len(values["sites"]), values["conventional"]) == (14, False)
