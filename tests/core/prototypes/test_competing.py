"""Which compositions compete in a chemical system."""

from __future__ import annotations

import pytest

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.prototypes.competing import KnownCompound, competing, key_of, salts
from aiida_fuse2.io.prototypes import compounds_of, library_to_text
from tests.core.generators.test_prototypes import LIBRARY
from tests.core.prototypes.entries import ALL, prototype


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        (("Mg", "Al", "O"), {"MgO", "Al2O3"}),
        (("Fe", "O"), {"FeO", "Fe2O3"}),
        (("Na", "Cl"), {"NaCl"}),
        (("Mg", "Si"), {"Mg2Si"}),
        (("Cu", "Au"), set()),
        (("Si",), set()),
    ],
)
def test_salts_are_neutral(elements, expected):
    assert {unit.formula for unit, _ in salts(elements)} == expected


def known(formula, n_atoms=4):
    return KnownCompound(unit=parse_composition(formula), n_atoms=n_atoms)


def run(elements=("Mg", "Al", "O"), compounds=(), without=(), limit=12, max_atoms=50):
    keys = {key_of(parse_composition(formula)) for formula in without}
    given = {"alloys": list(compounds)}
    found, left_out = competing(elements, given, without=keys, limit=limit, max_atoms=max_atoms)
    return [one.unit.formula for one in found], left_out


def test_elements_come_first_then_salts_then_known_compounds():
    compounds = [known("MgAl2O4", 14), known("Mg17Al12", 29), known("SrO"), known("Mg2Al", 6), known("O", 2)]
    assert run(compounds=compounds) == (["Mg", "Al", "O", "Al2O3", "MgO", "Mg2Al", "Mg17Al12", "MgAl2O4"], [])
    assert run(compounds=compounds, without=["Al2MgO4", "Mg"])[0] == ["Al", "O", "Al2O3", "MgO", "Mg2Al", "Mg17Al12"]
    assert run(compounds=compounds, limit=3) == (["Mg", "Al", "O", "Al2O3", "MgO", "Mg2Al"], ["Mg17Al12", "MgAl2O4"])


def test_known_compounds_in_large_cells_are_left_out_but_not_salts():
    compounds = [known("Mg17Al12", 58), known("Al2O3", 80), known("Al2O3", 60)]
    assert run(compounds=compounds) == (["Mg", "Al", "O", "Al2O3", "MgO"], ["Mg17Al12"])
    found, _ = competing(("Al", "O"), {"x": compounds}, without=(), limit=9, max_atoms=50)
    assert [(one.unit.formula, one.n_atoms) for one in found] == [("Al", 0), ("O", 0), ("Al2O3", 0)]
    found, _ = competing(("Al", "O"), {"x": compounds}, without=(), limit=9, max_atoms=60)
    assert found[-1].n_atoms == 60
    assert found[-1].reason == "Al +3, O -2"


def test_compounds_are_read_from_a_library():
    text = library_to_text(LIBRARY)
    read = [(one.unit.formula, one.n_atoms) for one in compounds_of(text, ("Cu", "Au", "Al"))]
    assert read == [("Cu3Au", 4), ("Cu3Au", 4), ("CuAu", 2)]
    assert compounds_of(text, ("Cu", "Al")) == []


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.label)
def test_compounds_are_those_of_their_structures(entry):
    made = prototype(entry)
    elements = set(made.atoms.get_chemical_symbols())
    (found,) = compounds_of(library_to_text([made]), elements)
    assert found.unit.z_of(made.atoms)
    assert found.n_atoms == len(made.atoms)
