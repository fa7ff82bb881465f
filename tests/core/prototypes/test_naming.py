"""Tests of the names of structures."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, make_supercell

from aiida_fuse2.core.crystal.symmetry import rattle
from aiida_fuse2.core.prototypes.encyclopedia import build
from aiida_fuse2.core.prototypes.library import Prototype, PrototypeError, make_prototype
from aiida_fuse2.core.prototypes.naming import ISOPOINTAL, UNKNOWN, TypeIndex, type_displacement
from tests.core.crystals import perovskite, quartz, spinel

from . import entries
from .entries import ALL, prototype

INDEX = TypeIndex(prototype(entry) for entry in ALL)


def name(atoms):
    return INDEX.name(atoms).text


def test_crystals_have_the_names_of_their_types_whatever_their_elements_size_and_cell():
    cubic = perovskite()
    cubic.symbols[cubic.symbols == "Sr"] = "K"
    cubic.symbols[cubic.symbols == "O"] = "F"
    cubic.set_cell(cubic.cell * 1.4, scale_atoms=True)
    assert name(cubic) == "Cubic Perovskite (CaTiO3, cP5)"
    assert name(spinel()) == "Spinel (MgAl2O4, cF56)"
    doubled = make_supercell(spinel(), [[1, 0, 0], [0, 1, 0], [0, 1, 2]])
    assert name(doubled) == "Spinel (MgAl2O4, cF56)"
    assert INDEX.name(spinel()).key == "A2BC4_cF56_227_c_b_e-001"


def test_both_hands_of_quartz_are_quartz():
    left = quartz()
    left.set_scaled_positions(-left.get_scaled_positions())
    assert name(quartz()) == name(left) == "α-Quartz (SiO2, hP9)"


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.label)
def test_small_displacements_do_not_matter(entry):
    moved = rattle(prototype(entry).atoms, 0.01, np.random.default_rng(3))
    assert name(moved).startswith(prototype(entry).title)


def test_one_label_can_be_several_types():
    marcasite, hydrophilite = prototype(entries.MARCASITE), prototype(entries.HYDROPHILITE)
    assert marcasite.type_label == hydrophilite.type_label
    assert name(marcasite.atoms).startswith("Marcasite")
    assert name(hydrophilite.atoms).startswith("Hydrophilite")
    # carbon dioxide has the group and the letters of pyrite, and molecules
    pyrite = prototype(entries.PYRITE)
    dioxide = make_prototype(
        _at(pyrite.atoms, entries.PYRITE, a=5.624, x=0.1185, symbols={"Fe": "C", "S": "O"}), key="dioxide", source=""
    )
    assert dioxide.type_label == pyrite.type_label
    assert type_displacement(dioxide.atoms, pyrite.atoms) is None
    assert name(dioxide.atoms) == f"{ISOPOINTAL}Pyrite (FeS2, cP12)"


def _at(atoms, entry, *, a, x, symbols):
    """Return a structure of an entry with other parameters and elements."""
    made = build(replace(entry, parameters={"a": a, "x2": x}))
    for old, new in symbols.items():
        made.symbols[made.symbols == old] = new
    return made


def test_a_distortion_names_what_it_distorts():
    tetragonal = perovskite()
    places = tetragonal.get_scaled_positions()
    places[tetragonal.symbols == "Ti", 2] += 0.06
    tetragonal.set_scaled_positions(places)
    own = make_prototype(tetragonal, key="PZT", source="", name="PZT")
    index = TypeIndex([own, *(prototype(entry) for entry in ALL)])
    assert index.name(tetragonal).text == "PZT (SrTiO3, tP5), distorted Cubic Perovskite"
    assert index.name(tetragonal).key == "PZT"
    assert name(tetragonal) == "Cubic Perovskite (CaTiO3, cP5)"  # without a type of its own it is what it distorts


def test_what_no_library_knows_is_unknown():
    assert name(bulk("Cu", "fcc", a=3.6)) == UNKNOWN
    assert name(bulk("GaAs", "zincblende", a=5.65)) == UNKNOWN
    assert TypeIndex([]).name(spinel()).text == UNKNOWN


def test_a_prototype_survives_as_plain_values():
    made = prototype(entries.MARCASITE)
    copy = made.atoms.copy()
    copy.info = made.info()
    again = Prototype.from_atoms(copy)
    assert again.info() == made.info()
    assert again.counts == (1, 2)
    del copy.info["label"]
    with pytest.raises(PrototypeError, match="label"):
        Prototype.from_atoms(copy)
