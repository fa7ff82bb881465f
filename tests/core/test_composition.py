from __future__ import annotations

import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from aiida_fuse2.core.composition import formula_unit, parse_composition
from aiida_fuse2.core.errors import InputError


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("SrTiO3", {"Sr": 1, "Ti": 1, "O": 3}),
        ("Ca3Al2(SiO4)3", {"Ca": 3, "Al": 2, "Si": 3, "O": 12}),
        (" Mn ", {"Mn": 1}),
        ("Co", {"Co": 1}),
        ("CO", {"C": 1, "O": 1}),
        ("Mg(OH)2", {"Mg": 1, "O": 2, "H": 2}),
        ("((SiO2)2Al)2O", {"Si": 4, "O": 9, "Al": 2}),
    ],
)
def test_formula_is_read(text, counts):
    assert parse_composition(text).as_dict() == counts


@pytest.mark.parametrize(
    ("text", "formula"), [("Li2O2", "LiO"), ("O2", "O"), ("Ti2O4", "TiO2"), ("Sr2Ti2O6", "SrTiO3")]
)
def test_multiple_is_divided_with_a_warning(text, formula):
    with pytest.warns(UserWarning, match=formula):
        assert parse_composition(text).formula == formula


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "must be a formula"),
        ("srtio3", "cannot read"),
        ("Xx2O", "not an element"),
        ("X", "not an element"),
        ("SrTiO0", "above 0"),
        ("Sr(TiO3", "not closed"),
        ("SrTiO3)", "no opening"),
        ("Li0.5CoO2", "cannot read"),
        ("Sr-Ti", "cannot read"),
        ("H" * 300, "longer than"),
    ],
)
def test_bad_formula_says_what_is_wrong(text, hint):
    with pytest.raises(InputError, match=hint) as caught:
        parse_composition(text)
    assert caught.value.field == "composition"


def test_numbers_of_formula_units():
    unit = parse_composition("SrTiO3")
    assert unit.z_values(12) == [1, 2]
    assert unit.z_values(20, min_atoms=6) == [2, 3, 4]
    assert unit.z_values(4) == []
    assert unit.z_of(Atoms("Sr2Ti2O6")) == 2
    assert unit.z_of(Atoms("SrTi2O2")) is None
    assert unit.z_of(Atoms("Sr2Ti2O6C")) is None
    assert sorted(unit.symbols(2)) == sorted(Atoms("Sr2Ti2O6").get_chemical_symbols())


@given(st.dictionaries(st.sampled_from(["H", "O", "Si", "Fe"]), st.integers(1, 9), min_size=1), st.integers(1, 5))
def test_formula_unit_ignores_a_common_factor(counts, factor):
    multiplied = {symbol: number * factor for symbol, number in counts.items()}
    assert formula_unit(multiplied) == formula_unit(counts)
