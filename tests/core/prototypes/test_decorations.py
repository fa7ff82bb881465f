"""Tests of what a composition becomes in a structure type."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.crystal.protostructure import protostructure_label
from aiida_fuse2.core.crystal.uniqueness import are_equal
from aiida_fuse2.core.prototypes.decorations import candidates, decorated_label, decorations, mendeleev_number
from aiida_fuse2.core.prototypes.library import make_prototype
from tests.core.crystals import perovskite

from . import entries
from .entries import ALL, prototype

LIBRARY = [prototype(entry) for entry in ALL]


def test_decorations_of_a_perovskite():
    found = decorations(prototype(entries.PEROVSKITE), parse_composition("SrTiO3"))
    assert {d.text for d in found} == {"Ca>Sr, O>O, Ti>Ti", "Ca>Ti, O>O, Ti>Sr"}  # A and B places differ
    right = next(d for d in found if d.text == "Ca>Sr, O>O, Ti>Ti")
    made = right.atoms()
    made.set_cell(perovskite().cell, scale_atoms=True)
    assert are_equal(made, perovskite(), stol=0.1)
    assert min(found, key=lambda d: d.distance) is right


def test_equal_places_are_not_decorated_twice():
    rocksalt = make_prototype(bulk("NaCl", "rocksalt", a=5.64), key="rocksalt", source="")
    assert len(decorations(rocksalt, parse_composition("MgO"))) == 1  # an origin shift exchanges the two places
    assert len(decorations(prototype(entries.WURTZITE), parse_composition("GaN"))) == 1


def test_equal_letters_are_not_yet_equal_places():
    # two kinds of 1a atoms along a polar axis: exchanging them is another crystal, with the same label
    cell = np.diag([4.0, 4.0, 9.0])
    places = [(0, 0, 0), (0.5, 0.5, 0.30), (0.5, 0, 0.55), (0, 0.5, 0.62)]
    atoms = Atoms("NaClKBr", scaled_positions=places, cell=cell, pbc=True)
    polar = make_prototype(atoms, key="polar", source="")
    found = decorations(polar, parse_composition("LiRbFI"))
    labels = {decorated_label(polar.label, d.elements) for d in found}
    assert len(found) > len(labels)
    assert not any(are_equal(a.atoms(), b.atoms(), stol=0.05) for a in found for b in found if a is not b)


def test_only_maps_that_keep_the_counts():
    spinel = prototype(entries.SPINEL)
    assert [d.text for d in decorations(spinel, parse_composition("ZnGa2S4"))] == ["Al>Ga, Mg>Zn, O>S"]
    assert decorations(spinel, parse_composition("SrTiO3")) == []
    assert decorations(spinel, parse_composition("Mg2Al4O4")) == []


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.label)
def test_labels_of_decorations_are_those_of_their_structures(entry):
    made = prototype(entry)
    new = dict(zip(sorted(set(made.atoms.get_chemical_symbols())), ("Zr", "Cs", "F"), strict=False))
    formula = "".join(new[s] for s in made.atoms.get_chemical_symbols())
    for decoration in decorations(made, parse_composition(formula)):
        label = decorated_label(made.label, decoration.elements)
        assert label == protostructure_label(decoration.atoms(), 0.01)


def test_volumes_follow_the_covalent_spheres():
    made = prototype(entries.PEROVSKITE)
    small, large = (decorations(made, parse_composition(f))[0].atoms() for f in ("BeTiO3", "BaTiO3"))
    assert small.get_volume() < made.atoms.get_volume() < large.get_volume()
    own = next(d for d in decorations(made, parse_composition("CaTiO3")) if d.distance == 0)
    assert own.atoms().get_volume() == pytest.approx(made.atoms.get_volume())


def test_candidates_are_ordered_by_chemistry_and_limited():
    found = candidates(LIBRARY, parse_composition("CoAs2"), max_atoms=6)
    assert {d.prototype.name for d in found} == {"Marcasite", "Hydrophilite", "Rutile"}
    assert found[0].prototype.name == "Marcasite"
    assert [d.distance for d in found] == sorted(d.distance for d in found)
    assert any(d.prototype.name == "Pyrite" for d in candidates(LIBRARY, parse_composition("CoAs2"), max_atoms=12))
    assert candidates(LIBRARY, parse_composition("Si6Al6B3Fe3NaO30F"), max_atoms=100) == []


def test_copies_of_a_type_are_one_candidate():
    compounds = [("Ca", "Ti", "O"), ("K", "Mg", "F"), ("Ba", "Zr", "O"), ("Cs", "Pb", "I"), ("La", "Al", "O")]
    copies = []
    for number, (a, b, x) in enumerate(compounds):
        atoms = perovskite()
        atoms.symbols = [{"Sr": a, "Ti": b, "O": x}[symbol] for symbol in atoms.get_chemical_symbols()]
        atoms.set_cell(atoms.cell.array * (1 + 0.1 * number), scale_atoms=True)
        copies.append(make_prototype(atoms, key=f"copy-{number}", source=""))
    found = candidates(copies, parse_composition("SrTiO3"), max_atoms=5)
    assert [d.text for d in found] == ["Ca>Sr, O>O, Ti>Ti", "Ca>Ti, O>O, Ti>Sr"]
    assert {d.prototype.key for d in found} == {"copy-0"}  # the most similar of the five


def test_geometries_of_one_label_are_candidates_of_their_own():
    library = [prototype(entry) for entry in (entries.MARCASITE, entries.HYDROPHILITE)]
    assert len({made.type_label for made in library}) == 1
    assert len(candidates(library, parse_composition("CoAs2"), max_atoms=6)) == 2


def test_a_type_without_its_own_name_has_that_of_its_compound():
    made = prototype(replace(entries.RUTILE, title="O$_{2}$Ti Structure"))
    assert made.title == "O2Ti (tP6)"
    assert prototype(entries.RUTILE).title == "Rutile (TiO2, tP6)"


def test_every_element_has_a_place_in_the_chemical_scale():
    assert mendeleev_number("As") == 89  # Pettifor 1984
    assert mendeleev_number("Fe") == 61
    assert all(1 <= mendeleev_number(symbol) <= 103 for symbol in ("H", "Cm", "Lr", "Og"))
