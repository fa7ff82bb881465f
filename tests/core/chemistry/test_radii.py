from __future__ import annotations

import csv
from pathlib import Path

import pytest
from ase.data import chemical_symbols

from aiida_fuse2.core.chemistry.atomic_radii import ATOMIC_RADII
from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.chemistry.radii import module_size, resolve_radii
from aiida_fuse2.core.errors import InputError

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "radii"


@pytest.mark.parametrize(
    ("formula", "size"),
    [
        ("Ca3Al2Si3O12", 4.238),
        ("SrTiO3", 4.672),
        ("Ca3Ti2O7", 4.677),
        ("CoAs2", 4.893),
        ("Cu7S4", 4.771),
        ("Mn", 5.480),
        ("WCl2", 4.520),
        ("YWB4", 4.313),
        ("Li4OBrCl", 5.229),
    ],
)
def test_module_sizes_of_the_paper(formula, size):
    unit = parse_composition(formula)
    assert module_size(unit, resolve_radii(unit)) == pytest.approx(size, abs=1e-3)


def test_every_element_has_a_radius():
    assert all(0.2 < ATOMIC_RADII[symbol] < 3 for symbol in chemical_symbols[1:95])


@pytest.mark.skipif(not SHARED.exists(), reason="reference data are not here")
def test_table_agrees_with_its_source():
    with (SHARED / "vesta_atomic_radii.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) > 80
    for row in rows:
        assert ATOMIC_RADII[row["element"]] == float(row["radius_A"])


def test_ionic_module_size():
    unit = parse_composition("SrTiO3")
    states = {"Sr": 2, "Ti": 4, "O": -2}
    radii = resolve_radii(unit, oxidation_states=states)
    assert radii["Ti"] == pytest.approx(0.605)  # Shannon, sixfold
    assert radii["O"] == pytest.approx(1.40, abs=0.05)
    expected = 2 * ((radii["Sr"] + radii["Ti"]) / 2 + radii["O"])
    assert module_size(unit, radii, states) == pytest.approx(expected)


def test_own_radii_win():
    unit = parse_composition("SrTiO3")
    assert resolve_radii(unit, overrides={"Sr": 2.0})["Sr"] == 2.0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"overrides": {"Ca": 2.0}}, "settings.radii[Ca]"),
        ({"overrides": {"Sr": -1.0}}, "settings.radii[Sr]"),
        ({"oxidation_states": {"Sr": 2, "O": -2}}, "settings.oxidation_states"),
        ({"oxidation_states": {"Sr": 2, "Ti": 4, "O": 2}}, "settings.oxidation_states"),
        ({"oxidation_states": {"Sr": 7, "Ti": 4, "O": -2}}, "settings.oxidation_states[Sr]"),
    ],
)
def test_bad_radii_name_their_field(arguments, field):
    with pytest.raises(InputError) as caught:
        resolve_radii(parse_composition("SrTiO3"), **arguments)
    assert caught.value.field.startswith(field)


def test_missing_radius_tells_how_to_give_it():
    with pytest.raises(InputError, match=r"e\.g\. settings\.radii=\{Cf: 1\.7\}"):
        resolve_radii(parse_composition("CfO2"))
