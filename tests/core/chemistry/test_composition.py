from __future__ import annotations

import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from aiida_fuse2.core.chemistry.composition import formula_unit, parse_composition
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
        ("[NH4]2SO4", {"N": 2, "H": 8, "S": 1, "O": 4}),
        ("K4[Fe(CN)6]", {"K": 4, "Fe": 1, "C": 6, "N": 6}),
        ("SrTiO\u2083", {"Sr": 1, "Ti": 1, "O": 3}),
        ("CaSO4\u00b72H2O", {"Ca": 1, "S": 1, "O": 6, "H": 4}),
        ("Sr1\u00a0Ti1 O3", {"Sr": 1, "Ti": 1, "O": 3}),
        ("Li10GeP2S12", {"Li": 10, "Ge": 1, "P": 2, "S": 12}),
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


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("SrTi03", "SrTiO3"),
        ("Si02", "SiO2"),
        ("LiFeP04", "LiFePO4"),
        ("Ca10(P04)6(0H)2", "Ca10(PO4)6(OH)2"),
        ("Fe203", "Fe2O3"),
        ("K20", "K2O"),
        ("Ca3Ti207", "Ca3Ti2O7"),
        ("BaFe12019", "BaFe12O19"),
        ("Na2S04\u00b710H20", "Na2SO4\u00b710H2O"),
        ("NaC1", "NaCl"),
        ("A1203", "Al2O3"),
        ("Mg(OH)02", "Mg(OH)2"),
        ("Li0.5CoO2", "LiCo2O4"),
        ("Li0,5CoO2", "LiCo2O4"),
        ("Li1/2CoO2", "LiCo2O4"),
        ("Li1.0CoO2", "LiCoO2"),
        ("Li0.3333333Mn2O4", "LiMn6O12"),
        ("CaSO4.2H2O", "CaSO4\u00b72H2O"),
        ("2H2O", "H2O"),
        ("srtio3", "SrTiO3"),
        ("MGO", "MgO"),
    ],
)
def test_what_was_meant_is_named(text, meant):
    with pytest.raises(InputError) as caught:
        parse_composition(text)
    assert caught.value.expected.endswith(f"; did you mean {meant}?")
    assert parse_composition(meant).n_atoms > 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SrTiO0", "counts no atom"),
        ("Mg(OH)0", "counts no atom"),
        ("SrTiO3-x", "no -x"),
        ("LixCoO2", "variable"),
        ("MnO4-", "oxidation_states"),
        ("Sr-1TiO3", "no sign"),
        ("Sr2+", "charges"),
        ("Ti\u2074O2", "no charges and no isotopes"),
        ("D2O", "deuterium"),
        ("SrTi\u041e3", "CYRILLIC CAPITAL LETTER O"),
        ("SrTiO3\u200b", "ZERO WIDTH SPACE"),
        ("Sr2 4O", "without a blank"),
        ("C o", "capital letter"),
        ("Sr()2O", "nothing between"),
        ("Sr(TiO3]", "no opening"),
        ("H2O\u00b7", "is empty"),
        ("CaSO4\u00b70.5H2O", "must be whole"),
        ("Li0.123457Mn2O4", "must be whole"),
        ("SrTiO33333333", "more than 10000"),
    ],
)
def test_what_no_chemist_writes_is_refused_with_the_reason(text, reason):
    with pytest.raises(InputError) as caught:
        parse_composition(text)
    assert reason in caught.value.expected


def test_a_formula_is_shown_as_it_was_understood():
    assert parse_composition("SrTiO3").description == "Sr1 Ti1 O3, formula unit of 5 atoms"
    assert parse_composition("CO").description == "C1 O1, formula unit of 2 atoms"
    assert parse_composition("Co").description == "Co1, formula unit of 1 atom"


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
